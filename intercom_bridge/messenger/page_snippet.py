"""HTML that shows the Messenger to a website's visitors, and the sources for the site's Content-Security-Policy."""

import json
from typing import Any

from intercom_bridge.models import Workspace

from .identity import API_BASES

# https://www.intercom.com/help/en/articles/3894-using-intercom-with-content-security-policy
CONTENT_SECURITY_POLICY = {
    "script-src": "https://app.intercom.io https://widget.intercom.io https://js.intercomcdn.com",
    "connect-src": "https://via.intercom.io https://api.intercom.io https://api.eu.intercom.io "
    "https://api.au.intercom.io https://api-iam.intercom.io https://api-iam.eu.intercom.io "
    "https://api-iam.au.intercom.io https://api-ping.intercom.io https://*.intercom-messenger.com "
    "wss://*.intercom-messenger.com https://nexus-websocket-a.intercom.io wss://nexus-websocket-a.intercom.io "
    "https://nexus-websocket-b.intercom.io wss://nexus-websocket-b.intercom.io "
    "https://nexus-europe-websocket.intercom.io wss://nexus-europe-websocket.intercom.io "
    "https://nexus-australia-websocket.intercom.io wss://nexus-australia-websocket.intercom.io "
    "https://uploads.intercomcdn.com https://uploads.intercomcdn.eu https://uploads.au.intercomcdn.com "
    "https://uploads.eu.intercomcdn.com https://uploads.intercomusercontent.com",
    "child-src": "https://intercom-sheets.com https://www.intercom-reporting.com https://www.youtube.com "
    "https://player.vimeo.com https://fast.wistia.net",
    "font-src": "https://js.intercomcdn.com https://fonts.intercomcdn.com",
    "form-action": "https://intercom.help https://api-iam.intercom.io https://api-iam.eu.intercom.io "
    "https://api-iam.au.intercom.io",
    "media-src": "https://js.intercomcdn.com https://downloads.intercomcdn.com https://downloads.intercomcdn.eu "
    "https://downloads.au.intercomcdn.com",
    "style-src": "'unsafe-inline'",
    "img-src": "blob: data: https://js.intercomcdn.com https://static.intercomassets.com "
    "https://static.intercomassets.eu https://static.au.intercomassets.com https://downloads.intercomcdn.com "
    "https://downloads.intercomcdn.eu https://downloads.au.intercomcdn.com https://uploads.intercomusercontent.com "
    "https://gifs.intercomcdn.com https://video-messages.intercomcdn.com",
}


def policy_lines() -> str:
    """Return the directives to add to the Content-Security-Policy of a site, one per line."""
    return "\n".join(f"{directive} {sources};" for directive, sources in CONTENT_SECURITY_POLICY.items())


def visitor_snippet(workspace: Workspace) -> str:
    """Return one line of HTML that shows the workspace's Messenger to visitors. It does not identify the visitor."""
    api_base = API_BASES[Workspace.Region(workspace.region)]
    options = _script_json({"api_base": api_base, "app_id": workspace.workspace_id})
    address = _script_json(f"https://widget.intercom.io/widget/{workspace.workspace_id}")
    # Intercom's standard loader: calls of `Intercom` are queued until its script is loaded.
    return (
        f"<script>(function(w,d,s){{w.intercomSettings={options};var q=function(){{q.c(arguments)}};q.q=[];"
        "q.c=function(a){q.q.push(a)};w.Intercom=w.Intercom||q;s=d.createElement('script');s.async=true;"
        f"s.src={address};d.head.appendChild(s)}})(window,document)</script>"
    )


def _script_json(value: Any) -> str:
    """Return JSON for a <script> element. It contains no "<", so it cannot end the element."""
    return json.dumps(value).replace("<", "\\u003c")
