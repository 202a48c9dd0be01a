//! What shows how things stand.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::mcpd::*;

#[test]
fn help_is_help() {
    assert_snapshot!(mcpctl("", &["--help"], ""), @r#"
    exit 0
    -- stdout
    GitOps for MCP servers.

    mcpctl talks to mcpd, which runs MCP servers exactly as a repository of YAML files declares them.
    "mcpctl dev DIR" is both in one command.

    Usage: mcpctl [OPTIONS] <COMMAND>

    Commands:
      dev         Run the servers of a folder while you edit it
      get         Show resources, one or all of a kind
      describe    Show everything about one resource
      why         Show why a resource is not well
      logs        Show what a server wrote to stderr
      create      Create a resource
      apply       Make declarations so
      approve     Accept what tools promise now
      diff        Show what differs
      patch       Change fields of a resource
      delete      Delete a resource
      status      Show how all of it stands
      sync        Read the repository and make it so, now
      conflicts   Show what lost against the store, or turn it round
      undo        Take back what one revision did
      backup      How well what is declared is kept elsewhere, and what a new host needs
      restore     Go back to an earlier state, or check what came back
      repo        Look after the repository that mcpd hosts
      init        Begin a repository of declarations
      import      Turn a client's or a compose file into declarations
      validate    Judge declarations as a push would, without mcpd
      schema      Print the JSON Schema of declarations
      completion  Print a script that completes mcpctl's words in a shell
      version     Print mcpctl's version
      help        Print this message or the help of the given subcommand(s)

    Options:
      -h, --help
              Print help (see a summary with '-h')

      -V, --version
              Print version

    Connection:
          --url <URL>
              URL of mcpd [MCPCTL_URL]

          --token <TOKEN>
              Token to show to mcpd [MCPCTL_TOKEN]

          --context <NAME>
              Context of ~/.config/mcpctl/config.yaml to use

    Output:
      -o, --output <FORM>
              The form of the output

              Possible values:
              - table: Columns
              - wide:  More columns, nothing cut
              - yaml:  YAML; of declarations as apply takes it
              - json:  JSON, errors too
              - name:  KIND/NAME, a line each
              - sarif: SARIF 2.1.0, for code scanning

          --no-color
              No colours, also on a terminal [env: NO_COLOR]

    Examples:
      mcpctl init fleet                    a first repository that runs
      mcpctl dev examples/repo             run the servers of a folder while you edit it
      mcpctl get servers                   what runs, and what does not
      mcpctl why server time               what keeps one from running
      mcpctl apply -f servers/ --dry-run   check declarations against mcpd
      mcpctl get server time -o yaml       the declaration, ready for apply

    Exit codes: 0 done, 1 failed or refused, 2 usage, 3 accepted but not all is well yet, 255 a bug.
    "#);
    assert_snapshot!(mcpctl("", &["apply", "--help"], ""), @r#"
    exit 0
    -- stdout
    Make declarations so

    Everything that is given is one change: all of it or nothing, one revision, one commit. What is
    there and equal stays untouched; what is there and not given stays as well. The answer has a line
    per resource: + is new, ~ changes, ! is a conflict in which the store's value was kept.

    Usage: mcpctl apply [OPTIONS] --file <FILE|DIR|->

    Options:
      -f, --file <FILE|DIR|->
              A file, a folder (read with its subfolders), or - for stdin; may be repeated

          --dry-run
              Show what would happen, and change nothing

          --wait [<SECONDS>]
              Wait until all is well, 60 seconds if no number is given

      -h, --help
              Print help (see a summary with '-h')

    Connection:
          --url <URL>
              URL of mcpd [MCPCTL_URL]

          --token <TOKEN>
              Token to show to mcpd [MCPCTL_TOKEN]

          --context <NAME>
              Context of ~/.config/mcpctl/config.yaml to use

    Output:
      -o, --output <FORM>
              The form of the output

              Possible values:
              - table: Columns
              - json:  JSON, errors too
              - name:  KIND/NAME, a line each

          --no-color
              No colours, also on a terminal [env: NO_COLOR]

    Examples:
      mcpctl apply -f servers/time.yaml
      mcpctl apply -f servers -f projects --dry-run
      mcpctl get server time -o yaml | mcpctl apply -f -
      mcpctl apply -f . --wait 120

    Exit code 3: it was applied, but there is a conflict, or (with --wait) not all is well in the end.
    "#);
}

#[test]
fn unknown_words_are_usage_errors() {
    assert_snapshot!(mcpctl("", &["gett"], ""), @r#"
    exit 2
    -- stderr
    error: unrecognized subcommand 'gett'
    hint: did you mean "get"?
    "#);
    assert_snapshot!(mcpctl("", &["review"], ""), @r#"
    exit 2
    -- stderr
    error: unrecognized subcommand 'review'
    hint: see --help
    "#);
    assert_snapshot!(mcpctl("", &["gett", "-o", "json"], ""), @r#"
    exit 2
    -- stderr
    {"error":"usage","detail":"unrecognized subcommand 'gett'","hint":"did you mean \"get\"?"}
    "#);
    assert_snapshot!(mcpctl("", &["get", "serverz"], ""), @r#"
    exit 2
    -- stderr
    error: no such kind: "serverz"
    hint: did you mean "server"?
    "#);
    assert_snapshot!(mcpctl("", &["get", "nonsense", "-o", "json"], ""), @r#"
    exit 2
    -- stderr
    {"error":"usage","detail":"no such kind: \"nonsense\"","hint":"kinds are secrets, templates, servers, projects, prompts, instances, conflicts, events, revisions, runs, tools"}
    "#);
    assert_snapshot!(mcpctl("", &["delete", "server"], ""), @r#"
    exit 2
    -- stderr
    error: which server?
    hint: give a name, as server/NAME
    "#);
    assert_snapshot!(mcpctl("", &["describe", "server", "time", "-o", "yaml"], ""), @r#"
    exit 2
    -- stderr
    error: invalid value 'yaml' for '--output <FORM>' [possible values: table, json]
    hint: see --help
    "#);
    assert_snapshot!(mcpctl("", &["version"], ""), @r#"
    exit 0
    -- stdout
    mcpctl 0.1.0
    "#);
}

#[test]
fn get_shows_tables() {
    let mcpd = fleet();
    assert_snapshot!(mcpd.run(&["get", "servers"]), @r#"
    exit 0
    -- stdout
    NAME   READY   STATE     TOOLS   AGE   REASON
    git    0/1     ERROR     -       0s    exited with code 1:  [31mno repository [0m
    time   1/1     RUNNING   2       0s    -
    "#);
    assert_snapshot!(mcpd.run(&["get", "srv", "time", "-o", "wide"]), @r#"
    exit 0
    -- stdout
    NAME   READY   STATE     TOOLS   AGE   REASON   TOKENS   REPLICAS   SOURCE                 DECLARED
    time   1/1     RUNNING   2       0s    -        -        1          mcp-server-time==1.0   servers/time.yaml:1@3fa2c1e
    "#);
    assert_snapshot!(mcpd.run(&["get", "all"]), @r#"
    exit 0
    -- stdout
    templates
    NAME     VERSION   ORIGIN     SOURCE
    github   2         declared   gh-mcp@1.0

    servers
    NAME   READY   STATE     TOOLS   AGE   REASON
    git    0/1     ERROR     -       0s    exited with code 1:  [31mno repository [0m
    time   1/1     RUNNING   2       0s    -

    projects
    NAME   SERVERS    URL
    demo   time,git   http://mcpd/projects/demo/mcp

    prompts
    NAME   PROJECT   PRIORITY   SUMMARY
    old    -         5          How it was
    old    demo      9          How it was
    "#);
    assert_snapshot!(mcpd.run(&["get", "all", "-o", "name"]), @r#"
    exit 0
    -- stdout
    template/github
    server/git
    server/time
    project/demo
    prompt/old
    prompt/demo/old
    "#);
    assert_snapshot!(mcpd.run(&["get", "instances"]), @r#"
    exit 0
    -- stdout
    NAME    STATE   TOOLS   AGE   FAILURES   RETRY   REASON
    git/0   ERROR   -       0s    3          now     exited with code 1
    "#);
    assert_snapshot!(mcpd.run(&["get", "conflicts"]), @r#"
    exit 0
    -- stdout
    NUMBER   RESOURCE     LOST          COMMIT    PLACE                AGE
    0        server/web   description   3fa2c1e   servers/web.yaml:3   0s
    "#);
    assert_snapshot!(mcpd.run(&["get", "events"]), @r#"
    exit 0
    -- stdout
    AGE   LEVEL     ABOUT    REASON    MESSAGE
    0s    info      time/0   Started   process 12
    0s    warning   git/0    Exited    code 1 ]0;x
    "#);
    assert_snapshot!(mcpd.run(&["get", "revisions"]), @r#"
    exit 0
    -- stdout
    REVISION   AGE   BY      DOOR   COMMIT    MESSAGE
    7          0s    admin   api    3fa2c1e   update server/git: replicas 1 → 2
    "#);
    assert_snapshot!(mcpd.run(&["get", "runs"]), @r#"
    exit 0
    -- stdout
    ID   STATE     TRIGGER                BY                 HEAD                AGE   OUTCOME
    12   done      webhook github, sync   ada ]0;x , admin   3fa2c1e → 9ab12cd   0s    imported 3, exported 1
    13   waiting   repository             -                  3fa2c1e             0s    this would delete 4 of 6 resources
    "#);
    assert_snapshot!(mcpd.run(&["get", "run", "13", "-o", "yaml"]), @r#"
    exit 0
    -- stdout
    id: '13'
    state: waiting
    causes:
    - trigger: repository
    asks: 0
    asked: 2200-01-01T00:00:00Z
    before: 3fa2c1e9aa
    after: 3fa2c1e9aa
    imported: 0
    exported: 0
    conflicts: 0
    revisions: []
    reason: this would delete 4 of 6 resources
    "#);
    assert_snapshot!(mcpd.run(&["get", "runs", "-o", "name"]), @r#"
    exit 0
    -- stdout
    run/12
    run/13
    "#);
    assert_snapshot!(mcpd.run(&["describe", "run", "12"]), @r#"
    exit 0
    -- stdout
    run/12
      state       done
      trigger     webhook github by ada ]0;x
                  sync by admin
      asked       0s ago, 3 times in all
      began       0s ago
      took        0 ms
      head        3fa2c1e → 9ab12cd
      did         imported 3, exported 1
      revisions   117, 118
    "#);
    assert_snapshot!(mcpd.run(&["describe", "run/99"]), @r#"
    exit 1
    -- stderr
    error: GET /api/v1/runs/99 does not exist
    "#);
    assert_snapshot!(mcpd.run(&["describe", "run", "x"]), @r#"
    exit 1
    -- stderr
    error: run/x does not exist
    "#);
    assert_snapshot!(mcpd.run(&["get", "instance", "none"]), @r#"
    exit 1
    -- stderr
    error: instance "none" does not exist
    "#);
    assert_snapshot!(mcpd.run(&["get", "server/none"]), @r#"
    exit 1
    -- stderr
    error: GET /api/v1/servers/none does not exist
    "#);
    assert_eq!(
        mcpd.header_of("GET /api/v1/servers", "authorization").as_deref(),
        Some("Bearer sesame")
    );
}

#[test]
fn get_gives_declarations_that_apply_takes() {
    let mcpd = fleet().on(
        "POST /api/v1/apply?dryRun=false",
        200,
        &plan(&json!([]), &json!([]), &json!([])),
    );
    assert_snapshot!(mcpd.run(&["get", "all", "-o", "yaml"]), @r#"
    exit 0
    -- stdout
    kind: template
    name: github
    version: '2'
    description: Reads issues
    packageName: gh-mcp@1.0
    timeoutSeconds: 90
    env:
    - name: TOKEN
      description: A token that may read
      required: true
    - name: HOST
      description: Where it is
      required: true
      defaultValue: example.com
    - name: DEBUG
      description: Say more
    ---
    kind: server
    name: git
    command:
    - mcp-server-git
    ---
    kind: server
    name: time
    packageName: mcp-server-time==1.0
    runtime: python
    env:
    - name: TZ
      value: UTC
    ---
    kind: project
    name: demo
    servers:
    - time
    - git
    ---
    kind: prompt
    name: old
    summary: How it was
    content: |
      Once
      upon
    ---
    kind: prompt
    name: old
    project: demo
    summary: How it was
    priority: 9
    content: |
      Once
      upon
    "#);
    assert_snapshot!(mcpd.run(&["get", "project", "demo", "-o", "json"]), @r#"
    exit 0
    -- stdout
    {
      "kind": "project",
      "name": "demo",
      "servers": [
        "time",
        "git"
      ]
    }
    "#);
    for words in [["get", "all", "-o", "yaml"], ["get", "servers", "-o", "json"]] {
        let shown = mcpd.run(&words);
        let text = shown.split_once("-- stdout\n").unwrap().1;
        assert!(
            mcpd.run_with(&["apply", "-f", "-"], text).starts_with("exit 0\n"),
            "{text}"
        );
    }
}

#[test]
fn get_watches() {
    let event = |name: &str, data: &Value| format!("event: {name}\ndata: {data}\n\n");
    let text = format!(": alive\n\n{}{}", event("added", &time()), event("changed", &git()));
    let stream = vec![("content-type", "text/event-stream")];
    let mcpd = Mcpd::start().on_raw("GET /api/v1/servers?watch=true", (200, stream, text));
    assert_snapshot!(mcpd.run(&["get", "servers", "-w"]), @r#"
    exit 1
    -- stdout
    CHANGE    NAME   READY   STATE     TOOLS   AGE   REASON
    ADDED     time   1/1     RUNNING   2       0s    -
    CHANGED   git    0/1     ERROR     -       0s    exited with code 1:  [31mno repository [0m
    -- stderr
    error: http://mcpd broke off in the middle of its answer
    "#);
    assert_snapshot!(mcpd.run(&["get", "servers", "time", "-w", "-o", "yaml"]), @r#"
    exit 1
    -- stdout
    --- # added
    kind: server
    name: time
    packageName: mcp-server-time==1.0
    runtime: python
    env:
    - name: TZ
      value: UTC
    -- stderr
    error: http://mcpd broke off in the middle of its answer
    "#);
}

#[test]
fn status_and_sync() {
    let well = Mcpd::start()
        .on("GET /api/v1/status", 200, &status(true))
        .on("POST /api/v1/sync?wait=0", 200, &status(true))
        .on("POST /api/v1/sync?wait=0&allowMassDelete=true", 200, &synced());
    assert_snapshot!(well.run(&["status"]), @r#"
    exit 0
    -- stdout
    mcpd       0.1.0 at http://mcpd, cluster 1a2b3c4d
    runtime    process
    source     hosted /git/config.git: synced at 3fa2c1e, read 0s ago
    store      revision 118, 3 resources

    NAME     STATE     TOOLS   AGE   FAILURES   RETRY   REASON
    time/0   RUNNING   2       0s    0          -       -

    all is well
    "#);
    assert!(well.run(&["status", "--check"]).starts_with("exit 0\n"));
    assert!(
        well.run(&["sync"]).starts_with("exit 0\n"),
        "an mcpd that knows no runs"
    );
    assert_snapshot!(well.run(&["sync", "--allow-mass-delete"]), @r#"
    exit 0
    -- stdout
    run        12 done: imported 3, exported 1
    mcpd       0.1.0 at http://mcpd, cluster 1a2b3c4d
    runtime    process
    source     hosted /git/config.git: synced at 3fa2c1e, read 0s ago
    store      revision 118, 3 resources

    NAME     STATE     TOOLS   AGE   FAILURES   RETRY   REASON
    time/0   RUNNING   2       0s    0          -       -

    all is well
    -- stderr
    note: nothing waits for --allow-mass-delete: it was passed over
    "#);
    assert!(
        well.run(&["sync", "--allow-mass-delete", "-o", "yaml"])
            .contains("run: '12'\n")
    );
    let mut broken = status(false);
    broken["source"]["state"] = json!("Failing");
    broken["source"]["lastError"] = json!("no space left on device");
    let ill = Mcpd::start()
        .on("GET /api/v1/status", 200, &status(false))
        .on("POST /api/v1/sync?wait=0", 200, &broken)
        .on("POST /api/v1/sync?wait=5", 200, &status(false));
    assert!(ill.run(&["status"]).starts_with("exit 0\n"));
    assert_snapshot!(ill.run(&["status", "--check"]), @r#"
    exit 3
    -- stdout
    mcpd       0.1.0 at http://mcpd, cluster 1a2b3c4d
    runtime    process
    source     hosted /git/config.git: synced at 3fa2c1e, read 0s ago
    store      revision 118, 3 resources
    conflicts  1 (mcpctl conflicts)
    held       server/bad: servers/bad.yaml:3:1: unknown field "replica"

    NAME     STATE   TOOLS   AGE   FAILURES   RETRY   REASON
    time/0   ERROR   2       0s    0          -       -

    not yet: 1 conflict (mcpctl conflicts), 1 resource held, 1 instance not RUNNING
    "#);
    assert!(ill.run(&["status", "--check", "-o", "json"]).starts_with("exit 3\n"));
    assert!(ill.run(&["status", "-o", "yaml"]).contains("cluster: 1a2b3c4d\n"));
    let waited = ill.run(&["sync", "--wait", "5"]);
    assert!(
        waited.starts_with("exit 3\n") && waited.contains("-- stderr\nERROR time/0\n"),
        "{waited}"
    );
    let failed = ill.run(&["sync"]);
    assert!(
        failed.starts_with("exit 1\n") && failed.contains("no space left on device"),
        "{failed}"
    );
}
