"""Stand-ins for iTop and Intercom, an inbox page and a demo. The product never imports them."""
