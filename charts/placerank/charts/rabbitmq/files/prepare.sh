# Writes the parts of the broker's configuration that cannot be in a ConfigMap: the user, from the Secret, and the
# memory limit. Imported definitions disable RABBITMQ_DEFAULT_USER, so the user has to be in them.
set -euo pipefail
umask 077

for name in RABBITMQ_USERNAME RABBITMQ_PASSWORD ERLANG_COOKIE; do
  if [[ ${!name} != *[![:space:]]* ]]; then
    echo "$name is blank in the Secret: give it a value." >&2
    exit 1
  fi
done

json_string() { # Escapes the two characters that a name may contain and JSON does not allow.
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

# The cookie is on a separate volume: Kubernetes gives the data's files to the pod's group (fsGroup), and Erlang refuses
# a cookie that a group may read.
printf '%s' "$ERLANG_COOKIE" >/var/lib/rabbitmq/.erlang.cookie
chmod 0400 /var/lib/rabbitmq/.erlang.cookie
