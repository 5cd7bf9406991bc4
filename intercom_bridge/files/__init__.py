"""Copy files in both directions: from Intercom to iTop and from iTop to Intercom."""
