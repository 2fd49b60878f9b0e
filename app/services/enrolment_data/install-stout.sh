# Makes this machine a box. The server sets `url` and `token` above.
# STOUT_ROOT puts every file below another root, for images and for trying this out; no service is started then.
set -eu

root=${STOUT_ROOT:-}
config=$root/etc/lager/control_plane.json
agent=$root/usr/local/sbin/stout-agent
unit=$root/etc/systemd/system/stout-agent.service

fail() {
    printf 'install-stout: %s\n' "$1" >&2
    exit 1
}

write_agent() {
    cat >"$agent" <<'AGENT'
#!/bin/sh
# Tells the control plane that this box is well, and keeps the SSH keys of those who may use it; with "once", one time.
set -u

root=${STOUT_ROOT:-}
config=$root/etc/lager/control_plane.json
keys=$root/etc/lager/authorized_keys.d/stout-users.pub

value() {
    sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p" "$config"
}

# The key goes in by standard input: others on this machine may read arguments.
ask() {
    path=$1
    shift
    printf 'header = "X-API-Key: %s"\n' "$(value api_key)" | curl -fsS --max-time 20 -K - "$@" "$(value url)$path"
}

hardware() {
    kilobytes=$(sed -n 's/^MemTotal: *\([0-9]*\) kB$/\1/p' /proc/meminfo 2>/dev/null)
    [ -z "$kilobytes" ] || printf ',"hardware":{"memoryBytes":%s}' "$((kilobytes * 1024))"
}

metrics() {
    disk=$(df -P / 2>/dev/null | sed -n '$s/.* \([0-9]*\)% .*/\1/p')
    [ -z "$disk" ] || printf ',"metrics":{"diskPercent":%s}' "$disk"
}

beat() {
    ask /api/box/heartbeat -o /dev/null -H 'Content-Type: application/json' \
        -d "{\"agentVersion\":\"1\",\"status\":{}$(hardware)$(metrics)}"
}

sync_keys() {
    page=1
    : >"$keys.new"
    while :; do
        answer=$(ask "/api/box/ssh-keys?limit=100&page=$page") || return 1
        lines=$(printf '%s' "$answer" | tr '{' '\n' | sed -n 's/.*"publicKey":"\([^"\\]*\).*/\1/p')
        [ -n "$lines" ] || break
        printf '%s\n' "$lines" >>"$keys.new"
        page=$((page + 1))
    done
    mv "$keys.new" "$keys"
}

if [ "${1:-}" = once ]; then
    beat && sync_keys
    exit
fi
beats=0
while :; do
    beat
    [ "$((beats % 10))" -ne 0 ] || sync_keys
    beats=$((beats + 1))
    sleep "$(value heartbeat_interval_seconds)"
done
AGENT
    chmod 755 "$agent"
}

write_unit() {
    cat >"$unit" <<'UNIT'
[Unit]
Description=Heartbeats of this box to its control plane
Wants=network-online.target
After=network-online.target

[Service]
ExecStart=/usr/local/sbin/stout-agent
Restart=always
RestartSec=5

[Install]
WantedBy=multi-user.target
UNIT
}

enrol() {
    # Anything but what a host name may hold is left out, so that the JSON below needs no escaping.
    name=$(uname -n | tr -cd 'A-Za-z0-9._-' | cut -c1-253)
    answer=$(curl -fsS --max-time 30 -H 'Content-Type: application/json' \
        -d "{\"token\":\"$token\",\"hostname\":\"${name:-box}\"}" "$url/api/box/enroll") ||
        fail 'the server did not take the token; it works once, for an hour: ask for a new setup'
    control=$(printf '%s' "$answer" | sed -n 's/.*"controlPlane":\({[^}]*}\).*/\1/p')
    [ -n "$control" ] || fail 'the answer of the server cannot be read'
    (umask 077 && printf '%s\n' "$control" >"$config.new" && mv "$config.new" "$config")
}

start() {
    if [ -n "$root" ]; then
        return
    elif command -v systemctl >/dev/null && [ -d /run/systemd/system ]; then
        systemctl daemon-reload
        systemctl enable --quiet stout-agent.service
        systemctl restart stout-agent.service
    else
        printf 'There is no systemd here: start %s whenever the machine starts.\n' "$agent"
    fi
}

# Called by the last line, so that half a download does nothing.
main() {
    [ -n "$root" ] || [ "$(id -u)" -eq 0 ] || fail 'run this as root'
    command -v curl >/dev/null || fail 'curl is missing; install it first'
    mkdir -p "${config%/*}/authorized_keys.d" "${agent%/*}" "${unit%/*}"
    write_agent
    write_unit
    enrol
    "$agent" once || fail 'this machine is enrolled, but its first heartbeat was refused'
    printf 'This machine is enrolled; its key is in %s.\n' "$config"
    start
}

main
