//! Kinds whose names count in a project, and what ships with mcpd.

use insta::assert_snapshot;

use crate::mcpd::*;

#[test]
fn a_project_is_said_by_a_flag_or_in_the_name() {
    let mcpd = fleet();
    assert_snapshot!(mcpd.run(&["get", "prompts"]), @r#"
    exit 0
    -- stdout
    NAME   PROJECT   PRIORITY   SUMMARY
    old    -         5          How it was
    old    demo      9          How it was
    "#);
    assert_snapshot!(mcpd.run(&["get", "prompts", "-p", "demo", "-o", "wide"]), @r#"
    exit 0
    -- stdout
    NAME   PROJECT   PRIORITY   SUMMARY      TAGS   LINK   DECLARED
    old    demo      9          How it was   -      -      -
    "#);
    let of_demo = mcpd.run(&["get", "prompt", "old", "-p", "demo", "-o", "yaml"]);
    assert_snapshot!(of_demo, @r#"
    exit 0
    -- stdout
    kind: prompt
    name: old
    project: demo
    summary: How it was
    priority: 9
    content: |
      Once
      upon
    "#);
    for words in [
        vec!["get", "prompt", "demo/old", "-o", "yaml"],
        vec!["get", "prompt/demo/old", "-o", "yaml"],
        vec!["get", "prompts/old", "-p", "demo", "-o", "yaml"],
    ] {
        assert_eq!(mcpd.run(&words), of_demo, "{words:?}");
    }
    assert!(!mcpd.run(&["get", "prompt", "old", "-o", "yaml"]).contains("project:"));
    assert!(
        mcpd.run(&["get", "prompt/demo/old", "-o", "name"])
            .contains("\nprompt/demo/old\n")
    );
    assert_snapshot!(mcpd.run(&["get", "servers", "-p", "demo", "-o", "name"]), @r#"
    exit 0
    -- stdout
    server/git
    server/time
    "#);
    assert_snapshot!(mcpd.run(&["get", "projects", "-p", "demo", "-o", "name"]), @r#"
    exit 0
    -- stdout
    project/demo
    "#);
    assert_snapshot!(mcpd.run(&["get", "templates", "-p", "demo"]), @r#"
    exit 0
    -- stderr
    no templates
    "#);
    assert_snapshot!(mcpd.run(&["get", "all", "-p", "demo", "-o", "name"]), @r#"
    exit 0
    -- stdout
    server/git
    server/time
    project/demo
    prompt/demo/old
    "#);
    assert_snapshot!(mcpd.run(&["get", "all", "-p", "nope"]), @r#"
    exit 1
    -- stderr
    error: project/nope does not exist
    "#);
    assert_snapshot!(mcpd.run(&["get", "server", "time", "-p", "demo"]), @r#"
    exit 2
    -- stderr
    error: servers belong to no project
    hint: leave --project out
    "#);
    assert_snapshot!(mcpd.run(&["get", "instances", "-p", "demo"]), @r#"
    exit 2
    -- stderr
    error: instances are not told apart by project
    hint: leave --project out
    "#);
}

#[test]
fn changes_reach_the_resource_in_its_project() {
    let of_demo = "/api/v1/projects/demo/prompts/old";
    let mcpd = fleet()
        .on("PATCH /api/v1/projects/demo/prompts/old", 200, &prompt(Some("demo")))
        .on(
            "DELETE /api/v1/projects/demo/prompts/old",
            200,
            &plan(&serde_json::json!([]), &serde_json::json!([]), &serde_json::json!([])),
        );
    for (words, want) in [
        (
            vec!["delete", "prompt", "old", "-p", "demo"],
            format!("DELETE {of_demo}"),
        ),
        (vec!["delete", "prompt/demo/old"], format!("DELETE {of_demo}")),
        (
            vec!["patch", "prompt", "old", "priority=9", "-p", "demo"],
            format!("PATCH {of_demo}"),
        ),
        (
            vec!["patch", "prompt/demo/old", "priority=9"],
            format!("PATCH {of_demo}"),
        ),
    ] {
        let shown = mcpd.run(&words);
        assert!(
            shown.starts_with("exit 0\n") && shown.contains("prompt/demo/old"),
            "{words:?} {shown}"
        );
        assert_eq!(mcpd.lines().last(), Some(&want), "{words:?}");
    }
}

#[test]
fn a_template_is_described_with_what_it_asks_for() {
    let mcpd = fleet();
    assert_snapshot!(mcpd.run(&["describe", "template", "github"]), @r#"
    exit 0
    -- stdout
    template/github
      declared    templates/github.yaml:1@3fa2c1e
      revision    5

    env
      NAME    REQUIRED   DEFAULT       DESCRIPTION
      TOKEN   yes        -             A token that may read
      HOST    no         example.com   Where it is
      DEBUG   no         -             Say more

    example
      mcpctl create server github --from-template github --env TOKEN=…

    declaration
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
    "#);
    assert_snapshot!(mcpd.run(&["describe", "template", "time"]), @r#"
    exit 0
    -- stdout
    template/time
      declared    nowhere: it ships with mcpd; a declaration takes its place
      revision    0

    example
      mcpctl create server time --from-template time

    declaration
      kind: template
      name: time
      version: '1'
      description: Tells the time
      packageName: mcp-server-time==1.0
      runtime: python
    "#);
    assert_snapshot!(mcpd.run(&["get", "templates", "-o", "wide"]), @r#"
    exit 0
    -- stdout
    NAME     VERSION   ORIGIN     SOURCE                 DESCRIPTION      DECLARED
    github   2         declared   gh-mcp@1.0             Reads issues     templates/github.yaml:1@3fa2c1e
    time     1         builtin    mcp-server-time==1.0   Tells the time   -
    "#);
}
