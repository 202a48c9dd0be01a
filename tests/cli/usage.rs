//! What is said of words that make no sense, and the help that each command has of its own.

use std::process::Command;

use insta::assert_snapshot;
use serde_json::json;

use crate::mcpd::*;

#[test]
fn words_that_can_not_be_parsed_are_one_line_and_a_hint() {
    let said = |line: &str| mcpctl("", &line.split(' ').collect::<Vec<_>>(), "");
    assert_snapshot!(said("get --wach"), @r#"
    exit 2
    -- stderr
    error: unexpected argument '--wach' found
    hint: did you mean "--watch"?
    "#);
    assert_snapshot!(said("apply"), @r#"
    exit 2
    -- stderr
    error: the following required arguments were not provided: --file <FILE|DIR|->
    hint: see --help
    "#);
    assert_snapshot!(said("apply -o json"), @r#"
    exit 2
    -- stderr
    {"error":"usage","detail":"the following required arguments were not provided: --file <FILE|DIR|->","hint":"see --help"}
    "#);
    assert_snapshot!(said("describe server time -o jsn"), @r#"
    exit 2
    -- stderr
    error: invalid value 'jsn' for '--output <FORM>' [possible values: table, json]
    hint: did you mean "json"?
    "#);
    assert_snapshot!(said("status -o name"), @r#"
    exit 2
    -- stderr
    error: invalid value 'name' for '--output <FORM>' [possible values: table, json, yaml]
    hint: see --help
    "#);
    assert_snapshot!(said("get servers -x"), @r#"
    exit 2
    -- stderr
    error: unexpected argument '-x' found
    hint: to pass '-x' as a value, use '-- -x'
    "#);
    assert_snapshot!(said("-o json"), @r#"
    exit 2
    -- stderr
    {"error":"usage","detail":"'mcpctl' requires a subcommand but one was not provided [subcommands: dev, get, describe, why, logs, create, apply, approve, diff, patch, delete, status, sync, conflicts, undo, backup, restore, repo, init, import, validate, schema, completion, version, help]","hint":"see --help"}
    "#);
    assert_snapshot!(said("sync --wait soon"), @r#"
    exit 2
    -- stderr
    error: invalid value 'soon' for '--wait [<SECONDS>]': a number of seconds from 0 to 86400 is needed
    hint: see --help
    "#);
    assert_snapshot!(said("conflicts acept server/web"), @r#"
    exit 2
    -- stderr
    error: unrecognized subcommand 'acept'
    hint: did you mean "accept"?
    "#);
    assert_snapshot!(said("status --url http://x --context y"), @r#"
    exit 2
    -- stderr
    error: the argument '--url <URL>' cannot be used with '--context <NAME>'
    hint: see --help
    "#);
    assert!(said("help get").starts_with("exit 0\n-- stdout\nShow resources"));
    assert!(mcpctl("", &[], "").contains("Usage: mcpctl [OPTIONS] <COMMAND>\n"));
}

#[test]
fn a_form_before_the_command_is_checked_as_well() {
    assert_snapshot!(mcpctl("", &["-o", "yaml", "describe", "server", "time"], ""), @r#"
    exit 2
    -- stderr
    error: this command has no -o yaml
    hint: it has table, json
    "#);
    let mcpd = fleet();
    assert!(mcpd.run(&["-o", "name", "get", "projects"]).contains("project/demo\n"));
    assert!(
        mcpd.run(&["describe", "-o", "json", "project", "demo"])
            .starts_with("exit 0\n")
    );
}

#[test]
fn help_shows_what_works() {
    let words = |verb: &str| -> Vec<String> {
        let help = mcpctl("", &[verb, "-h"], "");
        let known = [
            "--url",
            "--token",
            "--context",
            "--output",
            "--no-color",
            "[possible values: ",
        ];
        let found = help.lines().filter_map(|line| {
            let word = known.iter().find(|word| line.contains(**word))?;
            let values = line
                .split_once("[possible values: ")
                .map(|(_, values)| values.trim_end_matches(']'));
            Some(values.unwrap_or(word).to_owned())
        });
        found.collect()
    };
    let connection = ["--url", "--token", "--context"];
    for (verb, forms) in [
        ("get", "table, wide, yaml, json, name"),
        ("describe", "table, json"),
        ("apply", "table, json, name"),
        ("diff", "table, json, name"),
        ("patch", "table, json, name"),
        ("delete", "table, json, name"),
        ("conflicts", "table, json, name"),
        ("status", "table, json, yaml"),
        ("sync", "table, json, yaml"),
    ] {
        let mut want = connection.to_vec();
        want.extend([forms, "--no-color"]);
        assert_eq!(words(verb), want, "{verb}");
    }
    assert_eq!(words("version"), ["table, json"]);
    assert_eq!(words("dev"), Vec::<String>::new());
    assert_eq!(words("init"), Vec::<String>::new());
    assert_eq!(words("validate"), ["table, json, sarif", "--no-color"]);
    assert_eq!(words("schema"), ["json, yaml", "--no-color"]);
    let import = words("import");
    assert!(import.iter().any(|word| word == "--url") && !import.iter().any(|word| word == "--output"));
    assert_snapshot!(mcpctl("", &["get", "--help"], "").split("Options:").next().unwrap(), @r#"
    exit 0
    -- stdout
    Show resources, one or all of a kind

    KIND is a declared kind (server, project, prompt, template, secret; plurals and short names too), a
    recorded kind (instances, conflicts, events, revisions, runs, tools) or "all". With -o yaml the
    output holds declarations alone, ready for apply: no status, no defaults. What ships with mcpd
    (templates) is no declaration, and "all" leaves it out.

    With -p only what is in a project: itself, the servers that it lists, its prompts. "all -p" adds
    what these need, so that the output can be applied elsewhere.

    A recorded kind takes a NAME too: instances SERVER or SERVER/N, conflicts and events KIND/NAME (a
    server's with those of its instances; SERVER/N is one instance's), revisions and runs a number. Of
    events, revisions and runs the newest 200 are listed. tools are those of all servers or, with -p,
    what the project shows and hides, and why. A run is a look at the repository that somebody asked for
    (a sync, a webhook) or that moved something.

    Usage: mcpctl get [OPTIONS] <KIND> [NAME]

    Arguments:
      <KIND>
              The kind, or KIND/NAME

      [NAME]
              The name
    "#);
}

#[test]
fn dev_listens_on_loopback_only() {
    assert_snapshot!(mcpctl("", &["dev", "--listen", "0.0.0.0:4720"], ""), @r#"
    exit 2
    -- stderr
    error: --listen: 0.0.0.0:4720 is reachable by others
    hint: mcpctl dev listens on loopback only, as 127.0.0.1:3100; mcpd can do more
    "#);
    assert_snapshot!(mcpctl("", &["dev", "--listen", "4720"], ""), @r#"
    exit 2
    -- stderr
    error: invalid value '4720' for '--listen <ADDRESS>': "4720" is not an address with a port
    hint: see --help
    "#);
    // The address is taken; that there is no such folder comes later.
    let taken = mcpctl("", &["dev", "nowhere", "--listen", "localhost:4720"], "");
    assert!(
        taken.starts_with("exit 1\n") && taken.contains("can't watch"),
        "{taken}"
    );
}

#[test]
fn a_configuration_that_can_not_be_read_shows_no_token() {
    let home = folder(&[(
        ".config/mcpctl/config.yaml",
        "contexts:\n- name: a\n  url: http://a\n  token: [s3cret]\n",
    )]);
    let shown = mcpctl_in(home.path(), "", &["status"], "");
    let shown = shown.replace(&home.path().display().to_string(), "HOME");
    assert_snapshot!(shown, @r#"
    exit 1
    -- stderr
    error: HOME/.config/mcpctl/config.yaml:4:10: this can't be understood
    hint: the file has `current-context: NAME` and `contexts: [{name, url, token or tokenFile}]`
    "#);
    assert_snapshot!(mcpctl("http://ada:s3cret@mcpd.example", &["status"], ""), @r#"
    exit 1
    -- stderr
    error: MCPCTL_URL: "http://***@mcpd.example" is not the URL of an mcpd
    hint: give scheme and host, as https://mcp.example.com or http://127.0.0.1:3100
    "#);
}

#[test]
fn revisions_are_not_watched() {
    assert_snapshot!(fleet().run(&["get", "revisions", "-w"]), @r#"
    exit 2
    -- stderr
    error: revisions can't be watched
    hint: "mcpctl get events -w" shows what happens
    "#);
}

#[test]
fn that_nothing_happened_is_an_answer() {
    let mcpd = fleet().on("GET /api/v1/events?about=server/zz", 200, &listing(&[]));
    assert_snapshot!(mcpd.run(&["get", "events", "server/zz"]), @r#"
    exit 0
    -- stderr
    no events about server/zz
    "#);
    assert_snapshot!(mcpd.run(&["get", "events", "server/zz", "-o", "json"]), @r#"
    exit 0
    -- stdout
    []
    "#);
    assert!(mcpd.run(&["get", "conflicts", "server/zz"]).starts_with("exit 1\n"));
}

#[test]
fn diff_says_why_it_differs() {
    let mut answer = plan(&json!([]), &json!([]), &json!([]));
    answer["diagnostics"] =
        json!([{"file": "servers/bad.yaml", "line": 3, "column": 1, "message": "unknown field \"replica\""}]);
    let mcpd = Mcpd::start()
        .on("GET /api/v1/diff", 200, &answer)
        .on("GET /api/v1/status", 200, &status(false));
    assert_snapshot!(mcpd.run(&["diff"]), @r#"
    exit 1
    -- stdout
    error: servers/bad.yaml:3:1: unknown field "replica"
    held server/bad: servers/bad.yaml can't be used
    differs: 1 error above; what is declared there waits until it is mended
    "#);
    let mcpd = Mcpd::start().on("GET /api/v1/diff", 200, &answer);
    assert!(
        mcpd.run(&["diff", "-o", "name"])
            .contains("-- stderr\nerror: servers/bad.yaml:3:1")
    );
    assert_snapshot!(mcpd.run(&["diff"]), @r#"
    exit 1
    -- stdout
    error: servers/bad.yaml:3:1: unknown field "replica"
    differs: 1 error above; what is declared there waits until it is mended
    "#);
}

#[test]
fn mcpd_says_it_in_the_same_way() {
    let mcpd = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_mcpd"))
            .args(words)
            .env_clear()
            .env("HOME", "/home/ada")
            .env("MCPD_LISTN", "x")
            .current_dir("/")
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        format!(
            "exit {}\n{}{}",
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr)
        )
    };
    assert_snapshot!(mcpd(&["--lissen", "x"]), @r#"
    exit 2
    error: unexpected argument '--lissen' found
    hint: did you mean "--listen"?
    "#);
    assert_snapshot!(mcpd(&["--listen", "0.0.0.0:3100"]), @r#"
    exit 2
    error: --listen: 0.0.0.0:3100 is reachable by others, and nothing says that TLS stands in front
    hint: give an https --public-url, listen on 127.0.0.1, or accept the risk with --insecure-listen
    "#);
    let shown = mcpd(&[
        "--print-settings",
        "--data-dir",
        "data",
        "--watch",
        "repo",
        "--cluster",
        "one",
    ]);
    assert_snapshot!(shown, @"
    exit 0
    NAME                      VALUE                        ORIGIN
    MCPD_LISTEN               127.0.0.1:3100               default
    MCPD_DATA_DIR             /data                        flag --data-dir
    MCPD_CLUSTER              one                          flag --cluster
    MCPD_PUBLIC_URL           -                            default
    MCPD_ALLOWED_HOSTS        -                            default
    MCPD_ALLOWED_ORIGINS      -                            default
    MCPD_REPO                 -                            default
    MCPD_REPO_PATH            -                            default
    MCPD_BRANCH               main                         default
    MCPD_SYNC_INTERVAL        30s                          default
    MCPD_REPO_TOKEN           -                            default
    MCPD_REPO_TOKEN_FILE      -                            default
    MCPD_WEBHOOK_SECRET       -                            default
    MCPD_WATCH                /repo                        flag --watch
    MCPD_IDENTITY_FILE        -                            default
    MCPD_RUNTIME              docker                       default
    DOCKER_HOST               unix:///var/run/docker.sock  default
    MCPD_NODE_RUNNER_IMAGE    -                            default
    MCPD_PYTHON_RUNNER_IMAGE  -                            default
    MCPD_RUNNER_ENV           -                            default
    MCPD_CA_BUNDLE            -                            default
    MCPD_RUNNER_CACHE         -                            default
    MCPD_MCP_NETWORK          mcp-servers                  default
    MCPD_CONTAINER_ACCESS     publish                      default
    MCPD_VOLUME_ROOTS         -                            default
    MCPD_RECONCILE_INTERVAL   30s                          default
    MCPD_LOG                  info                         default
    MCPD_LOG_FORMAT           text                         default
    --insecure-listen         false                        default
    warning: unknown setting MCPD_LISTN in the environment; did you mean MCPD_LISTEN?
    ");
}
