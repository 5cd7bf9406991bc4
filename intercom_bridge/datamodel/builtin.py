"""The ticket classes of a standard iTop, used when no data model was imported.

Sources: the wiki page of iTop's standard data model, and responses of a standard iTop. `labels` are empty here; see
builtin_labels.py.
"""

from collections.abc import Iterable

from .attribute import Attribute, Kind, TicketClass, Value

LINE_LIMIT = 255
TEXT_LIMIT = 65535

_CONTRACTED_SERVICES = (
    "SELECT Service AS s JOIN lnkCustomerContractToService AS l ON l.service_id = s.id "
    "JOIN CustomerContract AS cc ON l.customercontract_id = cc.id "
    "WHERE cc.org_id = :this->org_id AND s.status != 'obsolete'"
)
_SUBCATEGORIES = (
    "SELECT ServiceSubcategory AS sc WHERE sc.service_id = :this->service_id "
    "AND (ISNULL(:this->request_type) OR sc.request_type = :this->request_type) AND sc.status != 'obsolete'"
)
_INCIDENT_SUBCATEGORIES = (
    "SELECT ServiceSubcategory AS sc WHERE sc.service_id = :this->service_id "
    "AND sc.request_type = 'incident' AND sc.status != 'obsolete'"
)
_PERSONS = "SELECT Person AS p WHERE p.org_id = :this->org_id"
_TEAMS = (
    "SELECT Team AS t JOIN lnkDeliveryModelToContact AS l ON l.contact_id = t.id "
    "JOIN DeliveryModel AS dm ON l.deliverymodel_id = dm.id JOIN Organization AS o ON o.deliverymodel_id = dm.id "
    "WHERE o.id = :this->org_id"
)
_AGENTS = (
    "SELECT Person AS p JOIN lnkPersonToTeam AS l ON l.person_id = p.id JOIN Team AS t ON l.team_id = t.id "
    "WHERE t.id = :this->team_id"
)


def _enum(
    code: str, values: str, *, default: str = "", is_mandatory: bool = False, is_read_only: bool = False
) -> Attribute:
    return Attribute(
        code=code,
        kind=Kind.ENUM,
        values=tuple(Value(code=value) for value in values.split()),
        default=default,
        is_mandatory=is_mandatory,
        is_read_only=is_read_only,
    )


def _key(
    code: str, target: str, query: str = "", depends_on: tuple[str, ...] = (), *, is_mandatory: bool = False
) -> Attribute:
    return Attribute(
        code=code,
        kind=Kind.KEY,
        target_class=target,
        filter=query,
        depends_on=depends_on,
        is_mandatory=is_mandatory,
    )


def _date(code: str, *, is_read_only: bool = False) -> Attribute:
    return Attribute(code=code, kind=Kind.DATETIME, is_read_only=is_read_only)


def _html(code: str, *, is_mandatory: bool = False) -> Attribute:
    return Attribute(code=code, kind=Kind.HTML, limit=TEXT_LIMIT, is_mandatory=is_mandatory)


def _line(code: str, *, is_mandatory: bool = False, is_read_only: bool = False) -> Attribute:
    return Attribute(
        code=code, kind=Kind.LINE, limit=LINE_LIMIT, is_mandatory=is_mandatory, is_read_only=is_read_only
    )


def _text(code: str) -> Attribute:
    return Attribute(code=code, kind=Kind.TEXT, limit=TEXT_LIMIT)


_LEVELS = "1 2 3 4"

_TICKET_ATTRIBUTES = (
    _line("ref", is_read_only=True),
    _key("org_id", "Organization", is_mandatory=True),
    _key("caller_id", "Person", _PERSONS, ("org_id",), is_mandatory=True),
    _key("team_id", "Team", _TEAMS, ("org_id",)),
    _key("agent_id", "Person", _AGENTS, ("team_id",)),
    _line("title", is_mandatory=True),
    _html("description", is_mandatory=True),
    _date("start_date", is_read_only=True),
    _date("end_date"),
    _date("last_update", is_read_only=True),
    _date("close_date"),
    Attribute(code="private_log", kind=Kind.LOG),
)
_REQUEST_AND_INCIDENT_ATTRIBUTES = (
    _enum("impact", "1 2 3", default="1", is_mandatory=True),
    _enum("urgency", _LEVELS, default="4", is_mandatory=True),
    _enum("priority", _LEVELS, default="4", is_mandatory=True, is_read_only=True),
    _enum("origin", "in_person chat mail phone portal monitoring", default="phone"),
    _key("service_id", "Service", _CONTRACTED_SERVICES, ("org_id",)),
    _enum("escalation_flag", "yes no", default="no"),
    _line("escalation_reason"),
    _date("assignment_date"),
    _date("resolution_date"),
    _date("last_pending_date"),
    _html("solution"),
    _text("pending_reason"),
    Attribute(code="public_log", kind=Kind.LOG),
    _enum("user_satisfaction", _LEVELS, default="1"),
    _text("user_comment"),
)
_DETAILS = (
    "org_id",
    "caller_id",
    "status",
    "origin",
    "title",
    "description",
    "service_id",
    "servicesubcategory_id",
    "escalation_flag",
    "escalation_reason",
    "pending_reason",
    "request_type",
    "impact",
    "urgency",
    "priority",
    "team_id",
    "agent_id",
    "approver_id",
    "start_date",
    "last_update",
    "assignment_date",
    "last_pending_date",
    "resolution_date",
    "close_date",
    "solution",
    "user_satisfaction",
    "user_comment",
    "public_log",
    "private_log",
)


def _ticket_class(name: str, attributes: Iterable[Attribute]) -> TicketClass:
    by_code = {attribute.code: attribute for attribute in attributes}
    return TicketClass(
        name=name, attributes=by_code, details=tuple(code for code in _DETAILS if code in by_code)
    )


BUILTIN_CLASSES = {
    ticket_class.name: ticket_class
    for ticket_class in (
        _ticket_class(
            "UserRequest",
            (
                *_TICKET_ATTRIBUTES,
                *_REQUEST_AND_INCIDENT_ATTRIBUTES,
                _enum(
                    "status",
                    "new waiting_for_approval approved rejected assigned pending escalated_tto escalated_ttr "
                    "resolved closed",
                    default="new",
                    is_mandatory=True,
                ),
                _enum("request_type", "incident service_request"),
                _key(
                    "servicesubcategory_id",
                    "ServiceSubcategory",
                    _SUBCATEGORIES,
                    ("service_id", "request_type"),
                ),
                _key("approver_id", "Person", _PERSONS, ("org_id",)),
                _key("parent_request_id", "UserRequest"),
            ),
        ),
        _ticket_class(
            "Incident",
            (
                *_TICKET_ATTRIBUTES,
                *_REQUEST_AND_INCIDENT_ATTRIBUTES,
                _enum(
                    "status",
                    "new escalated_tto assigned escalated_ttr pending resolved closed",
                    default="new",
                    is_mandatory=True,
                ),
                _key("servicesubcategory_id", "ServiceSubcategory", _INCIDENT_SUBCATEGORIES, ("service_id",)),
                _key("parent_incident_id", "Incident"),
            ),
        ),
    )
}
