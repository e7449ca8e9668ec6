#!/usr/bin/env bash
# A Ray head on this machine that outlives a terminal: loopback only, token authentication, no usage statistics.
#   cluster/single-host/start.sh [more options of `ray start`]
set -euo pipefail
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
export RAY_AUTH_TOKEN_PATH="${RAY_AUTH_TOKEN_PATH:-$HOME/.config/i4d/ray_token}"
# A node that is gone is noticed after about ten seconds.
export RAY_health_check_period_ms=1000 RAY_health_check_timeout_ms=3000 RAY_health_check_failure_threshold=3
if [[ ! -s "$RAY_AUTH_TOKEN_PATH" ]]; then
  mkdir -p "$(dirname "$RAY_AUTH_TOKEN_PATH")"
  (umask 077 && python3 -c 'import secrets; print(secrets.token_hex(32), end="")' > "$RAY_AUTH_TOKEN_PATH")
fi
chmod 600 "$RAY_AUTH_TOKEN_PATH"
exec ray start --head --block --node-ip-address=127.0.0.1 --port=6379 --dashboard-host=127.0.0.1 --dashboard-port=8265 \
  --metrics-export-port=8090 --disable-usage-stats "$@"
