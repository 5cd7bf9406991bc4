#!/bin/sh
# Run by the nginx image before nginx starts: the site file for containers. The web server has a name there instead of a fixed
# address. nginx asks Docker's DNS for it every five seconds, so that it finds a container that was restarted or replaced.
set -eu
site=${1:-/etc/intercom-bridge/bridge.conf}
to=${2:-/etc/nginx/conf.d/default.conf}
sed -e 's|^server {|server {\n    resolver 127.0.0.11 valid=5s;\n    set $web web:8000;|' \
    -e 's|proxy_pass http://intercom_bridge;|proxy_pass http://$web;|' \
    -e '/^upstream intercom_bridge {/,/^}/d' "$site" >"$to"
