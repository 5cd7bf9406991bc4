"""Stand-ins to try the product on with nothing installed. Nothing of the product imports them."""
