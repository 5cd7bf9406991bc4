"""Labels of a standard iTop's attributes and values, in the panel's languages."""

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

ATTRIBUTES: dict[str, Promise] = {
    "title": _("Title"),
    "description": _("Description"),
    "status": _("Status"),
    "ref": _("Reference"),
    "org_id": _("Organization"),
    "caller_id": _("Caller"),
    "agent_id": _("Agent"),
    "team_id": _("Team"),
    "approver_id": _("Approver"),
    "service_id": _("Service"),
    "servicesubcategory_id": _("Service subcategory"),
    "request_type": _("Request type"),
    "origin": _("Origin"),
    "impact": _("Impact"),
    "urgency": _("Urgency"),
    "priority": _("Priority"),
    "start_date": _("Opened"),
    "last_update": _("Last update"),
    "end_date": _("End date"),
    "close_date": _("Closed on"),
    "assignment_date": _("Assigned on"),
    "resolution_date": _("Resolved on"),
    "resolution_code": _("Resolution"),
    "solution": _("Solution"),
    "pending_reason": _("Pending reason"),
    "escalation_flag": _("Hot flag"),
    "user_satisfaction": _("Customer's rating"),
    "user_comment": _("Customer's comment"),
    "parent_request_id": _("Parent request"),
}

# The enums that a create form can contain, with the labels of their values in display order.
CHOICES: dict[str, dict[str, Promise]] = {
    "urgency": {"1": _("Critical"), "2": _("High"), "3": _("Medium"), "4": _("Low")},
    "impact": {"1": _("A department"), "2": _("A service"), "3": _("A person")},
    "request_type": {"incident": _("Incident"), "service_request": _("Service request")},
    "origin": {
        "in_person": _("In person"),
        "chat": _("Chat"),
        "mail": _("E-mail"),
        "phone": _("Phone"),
        "portal": _("Portal"),
        "monitoring": _("Monitoring"),
    },
}

VALUES: dict[str, dict[str, Promise]] = {
    **CHOICES,
    "priority": {"1": _("Critical"), "2": _("High"), "3": _("Medium"), "4": _("Low")},
    "status": {
        "new": _("New"),
        "waiting_for_approval": _("Waiting for approval"),
        "approved": _("Approved"),
        "rejected": _("Rejected"),
        "assigned": _("Assigned"),
        "pending": _("Pending"),
        "escalated_tto": _("Escalated: not assigned in time"),
        "escalated_ttr": _("Escalated: not resolved in time"),
        "dispatched": _("Dispatched"),
        "redispatched": _("Dispatched again"),
        "resolved": _("Resolved"),
        "closed": _("Closed"),
    },
    "escalation_flag": {"yes": _("Yes"), "no": _("No")},
}
