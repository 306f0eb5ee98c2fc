# The password is in a file that only the server reads: no list of processes shows it.
set -eu
umask 077
{
  cat /etc/placerank/redis.conf
  printf '\nrequirepass "%s"\n' "$(printf '%s' "$REDISCLI_AUTH" | sed 's/[\\"]/\\&/g')"
} >/tmp/redis.conf
exec redis-server /tmp/redis.conf
