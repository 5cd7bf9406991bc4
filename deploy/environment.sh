# Sourced by the scripts here: exports the variables of the environment file as systemd and Docker read it. Nothing is
# evaluated: & and ; are part of a value. Trailing blanks are removed, and lines without = are ignored.
environment=${BRIDGE_ENV:-/etc/intercom-bridge/bridge.env}
number=0
while read -r line || [ -n "$line" ]; do
    number=$((number + 1))
    case $line in
        [#\;]*) ;;
        *\\* | *[[:cntrl:]]* | *=[\"\'[:space:]]*)
            echo "Line $number of $environment has a quote or a blank after its =, a backslash, or an end of line as on" \
                "Windows: systemd, Docker and this script read that differently. Write NAME=value without them. Nothing was" \
                "done." >&2
            exit 2
            ;;
        *=*) export "$line" ;;
    esac
done <"$environment"
