#!/bin/sh
# The nginx image runs this script before nginx starts. It writes the site for containers: instead of a fixed address, the web
# server has a host name. nginx looks the name up in Docker's DNS every five seconds, so it finds a container that was replaced.
set -eu
site=${1:-/etc/intercom-bridge/bridge.conf}
target=${2:-/etc/nginx/conf.d/default.conf}
sed -e 's|^server {|server {\n    resolver 127.0.0.11 valid=5s;\n    set $web web:8000;|' \
    -e 's|proxy_pass http://intercom_bridge;|proxy_pass http://$web;|' \
    -e '/^upstream intercom_bridge {/,/^}/d' "$site" >"$target"
