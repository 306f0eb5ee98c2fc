# The password is in a file that only the server can read, so that it is not visible in the list of processes.
set -eu
case $REDISCLI_AUTH in
  *[![:space:]]*) ;;
  *)
    echo 'The password in the Secret is blank, so everybody could enter: give it a value.' >&2
    exit 1
    ;;
esac
umask 077
{
  cat /etc/placerank/redis.conf
  printf '\nrequirepass "%s"\n' "$(printf '%s' "$REDISCLI_AUTH" | sed 's/[\\"]/\\&/g')"
} >/tmp/redis.conf
exec redis-server /tmp/redis.conf
