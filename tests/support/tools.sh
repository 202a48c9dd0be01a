# Where the tools of the tests stand. Sourced by tests/run, which fills the folder, and by tests/support/lib.sh.
# Everything is in target/tools, so a checkout that is deleted leaves nothing behind. Wants `root`, the checkout.

# shellcheck disable=SC2034,SC2154
tools=$root/target/tools

# What must be the same wherever the tests run. Bumping a version here, in requirements.txt or in package.json is
# enough: tests/run sees that the stamp differs.
deny_version=0.20.2
# The packages that examples/repo declares, read from there so that they can't differ.
everything_package=$(sed -n 's/^packageName: "\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' "$root/examples/repo/servers/everything.yaml")
time_package=$(sed -n 's/^packageName: "\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' "$root/examples/repo/servers/time.yaml")
# Real servers that only tests declare.
real_npm_packages=(@modelcontextprotocol/server-{filesystem,memory,sequential-thinking}@2026.8.31)
real_python_packages=(mcp-server-git==2026.10.19 mcp-server-fetch==2026.10.24)

# The virtual environment first: its python3 is the one that uv finds, and uvx is in it.
export PATH="$tools/python/bin:$PATH:$tools/cargo/bin"
# Node 22 or newer for the inspector, out of npm's packages. npx and the servers run on the machine's own.
MCPCTL_TEST_NODE=$(find "$tools/npm/node_modules" -maxdepth 4 -path '*/node-linux-*/bin/node' -print -quit 2>/dev/null || true)
export MCPCTL_TEST_NODE
export MCPCTL_TEST_NODE_MODULES="$tools/npm/node_modules"
# The Python SDK 1, for a PYTHONPATH; its version 2 is in the environment itself.
export MCPCTL_TEST_PYTHON_LEGACY="$tools/python/legacy"
export npm_config_cache="$tools/npm-cache" npm_config_prefer_offline=true npm_config_update_notifier=false
export npm_config_audit=false npm_config_fund=false
export UV_CACHE_DIR="$tools/uv-cache" UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1

# What tests of the Docker runtime start, made by tests/support/images.sh. The runners are those of deploy/; the offline
# ones are the same but for a word that keeps them from the network. `fixture` starts by itself, `fixture-bare` has
# neither command nor entry point.
export MCPCTL_TEST_NODE_RUNNER_IMAGE=mcpctl/node-runner:test MCPCTL_TEST_PYTHON_RUNNER_IMAGE=mcpctl/python-runner:test
export MCPCTL_TEST_NODE_OFFLINE_IMAGE=mcpctl/node-runner:offline MCPCTL_TEST_PYTHON_OFFLINE_IMAGE=mcpctl/python-runner:offline
export MCPCTL_TEST_FIXTURE_IMAGE=mcpctl/fixture:test MCPCTL_TEST_FIXTURE_BARE_IMAGE=mcpctl/fixture-bare:test
export MCPCTL_TEST_FIXTURE_SERVER=$tools/fixture_server
# The volume that holds npm's and uv's caches for containers, named after what it was filled with.
runner_cache_volume=mcpctl-test-cache-$(cat "$root"/deploy/Dockerfile.* "$root/tests/support/images.sh" - <<<"$everything_package $time_package" |
    sha256sum | cut -c1-12)
