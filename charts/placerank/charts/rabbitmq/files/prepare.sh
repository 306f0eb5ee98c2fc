# Writes what the broker reads at its start and what no ConfigMap may hold: its user, from the Secret, and its memory.
# Imported definitions switch off RABBITMQ_DEFAULT_USER, so that the user has to be in them.
set -euo pipefail
umask 077

json_string() { # JSON has two characters that must be escaped and may stand in a name.
  local text=${1//\\/\\\\}
  printf '"%s"' "${text//\"/\\\"}"
}

# rabbit_password_hashing_sha256: base64 of the salt, and SHA-256 of salt and password.
salt=$(od -An -N4 -tx1 /dev/urandom | tr -d ' \n')
bytes() { printf '%b' "$(sed 's/../\\x&/g' <<<"$1")"; }
digest=$({ bytes "$salt"; printf '%s' "$RABBITMQ_PASSWORD"; } | sha256sum | cut -d ' ' -f 1)
hash=$(bytes "$salt$digest" | base64 -w 0)

user=$(json_string "$RABBITMQ_USERNAME")
vhost=$(json_string "$RABBITMQ_VHOST")
{
  printf '{"users": [{"name": %s, "password_hash": "%s", "hashing_algorithm": "rabbit_password_hashing_sha256", ' "$user" "$hash"
  printf '"tags": ["administrator"], "limits": {}}],\n"vhosts": [{"name": %s}],\n' "$vhost"
  printf '"permissions": [{"user": %s, "vhost": %s, "configure": ".*", "write": ".*", "read": ".*"}],\n' "$user" "$vhost"
  tail -c +2 /etc/placerank/topology.json # all but its opening brace
} >/var/lib/rabbitmq/definitions.json

{
  cat /etc/placerank/rabbitmq.conf
  printf '\ntotal_memory_available_override_value = %s\n' "$MEMORY_LIMIT"
} >/etc/rabbitmq/conf.d/50-placerank.conf

# On a volume of its own: a pod's group is put on the data's files, and Erlang refuses a cookie that a group may read.
printf '%s' "$ERLANG_COOKIE" >/var/lib/rabbitmq/.erlang.cookie
chmod 0400 /var/lib/rabbitmq/.erlang.cookie
