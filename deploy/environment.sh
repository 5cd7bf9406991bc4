# Sourced by the other scripts. Exports the variables of the environment file, and reads this file as systemd and Docker
# do. The shell does not evaluate the values, so & and ; are part of a value. Trailing blanks are removed. Lines without =
# are ignored.
environment=${BRIDGE_ENV:-/etc/intercom-bridge/bridge.env}
number=0
while read -r line || [ -n "$line" ]; do
    number=$((number + 1))
    case $line in
        [#\;]*) ;;
        *\\* | *[[:cntrl:]]* | *=[\"\'[:space:]]*)
            echo "Line $number of $environment has a quote or a blank after its =, a backslash, or a Windows line ending." \
                "systemd, Docker and this script would read it differently. Write NAME=value without these characters." \
                "Nothing was done." >&2
            exit 2
            ;;
        *=*) export "$line" ;;
    esac
done <"$environment"
