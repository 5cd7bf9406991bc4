"""The classes and attributes of the stand-in: a part of iTop's standard data model.

The order of attributes is iTop's, since responses with ``output_fields: "*"`` and the list of names in "Unknown
filter code" follow it (recordings 028 and 044).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache

VERSIONS = ("2.7", "3.0", "3.1", "3.2", "3.3")
# Classes whose objects leave no trace in the history (recording 249).
WITHOUT_HISTORY = frozenset({"Attachment", "InlineImage"})
NUMBER_KINDS = frozenset({"key", "integer", "objkey", "stopwatch", "id", "flag"})
VIRTUAL_KINDS = frozenset({"external", "links"})


@dataclass(frozen=True)
class Attribute:
    """An attribute of a class.

    ``kind`` is one of: string text html enum email url integer date day key objkey external log links blob
    stopwatch secret flag (obsolescence) id.
    """

    code: str
    kind: str = "string"
    label: str = ""
    target: str = ""  # the class to which a key refers, or the class of the objects in a list (links)
    # Of an external field: the key to the other object. Of a list: the key with which its objects refer to this one.
    via: str = ""
    remote: str = ""  # of an external field: the attribute of the other object
    values: tuple[str, ...] = ()
    mandatory: bool = False
    default: str | int | None = None
    filterable: bool = True
    derived: bool = False  # iTop adds it without a declaration in the class, such as friendlyname

    @property
    def stored(self) -> bool:
        return self.kind not in VIRTUAL_KINDS

    @property
    def writable(self) -> bool:
        return (
            self.stored
            and not self.derived
            and self.kind != "stopwatch"
            and self.code != "operational_status"
        )

    @property
    def recorded(self) -> bool:
        """Return whether iTop records a change of the attribute in the history (recording 213)."""
        return (self.writable and self.code != "last_update") or self.code == "operational_status"

    @property
    def is_number(self) -> bool:
        return self.kind in NUMBER_KINDS


@dataclass(frozen=True)
class ItopClass:
    name: str
    parent: str = ""
    own: tuple[Attribute, ...] = ()
    abstract: bool = False
    naming: str = ""  # "{first_name} {name}"; inherited when empty
    obsolete_when: str = ""  # the status that makes an object obsolete; inherited when empty
    order: tuple[str, bool] | None = None  # attribute, newest first; inherited when None


def text(code: str, label: str = "", **options: object) -> Attribute:
    return Attribute(code, "string", label, **options)  # type: ignore[arg-type]


def key(code: str, target: str, label: str = "", **options: object) -> Attribute:
    return Attribute(code, "key", label, target=target, default=0, **options)  # type: ignore[arg-type]


def external(code: str, via: str, remote: str) -> Attribute:
    return Attribute(code, "external", via=via, remote=remote)


def enum(code: str, label: str, *values: str, **options: object) -> Attribute:
    return Attribute(code, "enum", label, values=values, **options)  # type: ignore[arg-type]


def links(code: str, target: str = "", via: str = "") -> Attribute:
    return Attribute(code, "links", target=target, via=via, filterable=False)


def other(kind: str, code: str, label: str = "", **options: object) -> Attribute:
    return Attribute(code, kind, label, **options)  # type: ignore[arg-type]


STATES = (
    "new",
    "waiting_for_approval",
    "approved",
    "rejected",
    "assigned",
    "pending",
    "escalated_tto",
    "escalated_ttr",
    "resolved",
    "closed",
)

INTERCOM_FIELDS = (
    text("intercom_ref", "Intercom conversation reference"),
    other("url", "intercom_url", "Intercom conversation URL"),
    enum("intercom_sync_activated", "Intercom synchronization", "yes", "no", default="no", mandatory=True),
)


def stopwatch(code: str, *thresholds: int) -> tuple[Attribute, ...]:
    """Return the attributes of a stopwatch: its running time in seconds, and its parts.

    OQL knows the parts, but no response contains them. ``thresholds`` are percentages.
    """
    part_codes = [f"{code}_{part}" for part in ("started", "laststart", "stopped")]
    for percent in thresholds:
        part_codes += [f"{code}_{percent}_{part}" for part in ("deadline", "passed", "triggered", "overrun")]
    parts = tuple(other("stopwatch_part", part_code) for part_code in part_codes)
    return (other("stopwatch", code, default=0), *parts)


# The classes of Combodo's extension "Webhook integration".
_WEBHOOK_INTEGRATION = (
    ItopClass("RemoteApplicationType", naming="{name}", own=(text("name", "Name", mandatory=True),)),
    ItopClass(
        "RemoteApplicationConnection",
        naming="{name}",
        own=(
            text("name", "Name", mandatory=True),
            key("remoteapplicationtype_id", "RemoteApplicationType", "Application type", mandatory=True),
            enum("environment", "Environment", "1-development", "2-test", "3-production", default="2-test"),
            text("url", "URL", mandatory=True),
        ),
    ),
    ItopClass(
        "ActionWebhook",
        "ActionNotification",
        own=(
            enum(
                "asynchronous",
                "Asynchronous",
                "yes",
                "no",
                "use_global_setting",
                default="use_global_setting",
            ),
            key(
                "remoteapplicationconnection_id", "RemoteApplicationConnection", "Connection", mandatory=True
            ),
            enum("method", "Method", "get", "post", "put", "patch", "delete", "head", default="post"),
            text("path", "Path"),
            other("text", "headers", "Headers"),
            other("text", "payload", "Payload"),
        ),
    ),
)


def classes(*, extension: bool, version: str) -> tuple[ItopClass, ...]:
    """Return all classes. ``extension`` is whether UserRequest has the attributes of Combodo's PHP extension."""
    return (
        ItopClass(
            "Organization",
            naming="{name}",
            obsolete_when="inactive",
            own=(
                text("name", "Name", mandatory=True),
                text("code", "Code"),
                enum("status", "Status", "active", "inactive", default="active"),
                key("parent_id", "Organization", "Parent"),
                external("parent_name", "parent_id", "name"),
                key("deliverymodel_id", "DeliveryModel", "Delivery model"),
                external("deliverymodel_name", "deliverymodel_id", "name"),
            ),
        ),
        ItopClass(
            "Location",
            naming="{name}",
            obsolete_when="inactive",
            own=(
                text("name", "Name", mandatory=True),
                enum("status", "Status", "active", "inactive", default="active"),
                key("org_id", "Organization", "Owner organization", mandatory=True),
                external("org_name", "org_id", "name"),
            ),
        ),
        ItopClass(
            "Contact",
            abstract=True,
            naming="{name}",
            obsolete_when="inactive",
            own=(
                text("name", "Name", mandatory=True),
                enum("status", "Status", "active", "inactive", default="active", mandatory=True),
                key("org_id", "Organization", "Organization", mandatory=True),
                external("org_name", "org_id", "name"),
                other("email", "email", "Email"),
                text("phone", "Phone"),
                enum("notify", "WebhookEvent", "no", "yes", default="yes"),
                text("function", "Function"),
                links("cis_list"),
            ),
        ),
        ItopClass(
            "Person",
            "Contact",
            naming="{first_name} {name}",
            own=(
                other("blob", "picture", filterable=False),
                text("first_name", "First Name", mandatory=True),
                text("employee_number", "Employee number"),
                text("mobile_phone", "Mobile phone"),
                key("location_id", "Location", "Location"),
                external("location_name", "location_id", "name"),
                key("manager_id", "Person", "Manager"),
                external("manager_name", "manager_id", "name"),
                links("team_list", "lnkPersonToTeam", "person_id"),
                links("user_list", "User", "contactid"),
                links("tickets_list", "Ticket", "caller_id"),
            ),
        ),
        ItopClass(
            "Team",
            "Contact",
            own=(
                links("persons_list", "lnkPersonToTeam", "team_id"),
                links("tickets_list", "Ticket", "team_id"),
            ),
        ),
        ItopClass(
            "lnkPersonToTeam",
            naming="Link between {person_name} and {team_name}",
            own=(
                key("team_id", "Team", "Team", mandatory=True),
                external("team_name", "team_id", "name"),
                key("person_id", "Person", "Person", mandatory=True),
                external("person_name", "person_id", "name"),
            ),
        ),
        ItopClass(
            "User",
            abstract=True,
            naming="{login}",
            own=(
                key("contactid", "Person", "Person"),
                external("last_name", "contactid", "name"),
                external("first_name", "contactid", "first_name"),
                external("email", "contactid", "email"),
                external("org_id", "contactid", "org_id"),
                text("login", "Login", mandatory=True),
                text("language", "Language", default="EN US"),
                enum("status", "Status", "enabled", "disabled", default="enabled"),
                links("profile_list", "URP_UserProfile", "userid"),
                links("allowed_org_list", "URP_UserOrg", "userid"),
                other("log", "log", "Log"),
            ),
        ),
        ItopClass(
            "UserLocal",
            "User",
            own=(
                other("secret", "reset_pwd_token", filterable=False),
                other("secret", "password", filterable=False),
                text("expiration", default="never_expire"),
                other("day", "password_renewed_date"),
            ),
        ),
        ItopClass("UserToken", "User", own=(other("secret", "auth_token", filterable=False),)),
        ItopClass("URP_Profiles", naming="{name}", own=(text("name", mandatory=True), text("description"))),
        ItopClass(
            "URP_UserProfile",
            naming="Link between {userlogin} and {profile}",
            own=(
                key("userid", "User", mandatory=True),
                external("userlogin", "userid", "login"),
                key("profileid", "URP_Profiles", mandatory=True),
                external("profile", "profileid", "name"),
                text("reason"),
            ),
        ),
        ItopClass(
            "URP_UserOrg",
            naming="{userlogin} {allowed_org_name}",
            own=(
                key("userid", "User", mandatory=True),
                external("userlogin", "userid", "login"),
                key("allowed_org_id", "Organization", mandatory=True),
                external("allowed_org_name", "allowed_org_id", "name"),
                text("reason"),
            ),
        ),
        ItopClass(
            "DeliveryModel",
            naming="{name}",
            own=(
                text("name", "Name", mandatory=True),
                key("org_id", "Organization", "Organization", mandatory=True),
                external("organization_name", "org_id", "name"),
                other("text", "description", "Description"),
                links("contacts_list", "lnkDeliveryModelToContact", "deliverymodel_id"),
                links("customers_list", "Organization", "deliverymodel_id"),
            ),
        ),
        ItopClass(
            "lnkDeliveryModelToContact",
            naming="Link between {deliverymodel_name} and {contact_name}",
            own=(
                key("deliverymodel_id", "DeliveryModel", mandatory=True),
                external("deliverymodel_name", "deliverymodel_id", "name"),
                key("contact_id", "Contact", mandatory=True),
                external("contact_name", "contact_id", "name"),
            ),
        ),
        ItopClass(
            "ServiceFamily",
            naming="{name}",
            own=(text("name", "Name", mandatory=True), links("services_list", "Service", "servicefamily_id")),
        ),
        ItopClass(
            "Service",
            naming="{name}",
            own=(
                text("name", "Name", mandatory=True),
                key("org_id", "Organization", "Provider", mandatory=True),
                external("organization_name", "org_id", "name"),
                key("servicefamily_id", "ServiceFamily", "Service Family"),
                external("servicefamily_name", "servicefamily_id", "name"),
                other("text", "description", "Description"),
                links("documents_list"),
                links("contacts_list"),
                enum("status", "Status", "implementation", "production", "obsolete"),
                other("blob", "icon", filterable=False),
                links("customercontracts_list", "lnkCustomerContractToService", "service_id"),
                links("providercontracts_list"),
                links("functionalcis_list"),
                links("servicesubcategories_list", "ServiceSubcategory", "service_id"),
            ),
        ),
        ItopClass(
            "ServiceSubcategory",
            naming="{name}",
            own=(
                text("name", "Name", mandatory=True),
                other("text", "description", "Description"),
                key("service_id", "Service", "Service", mandatory=True),
                external("service_org_id", "service_id", "org_id"),
                external("service_name", "service_id", "name"),
                external("service_provider", "service_id", "organization_name"),
                enum(
                    "request_type",
                    "Request type",
                    "incident",
                    "service_request",
                    default="incident",
                    mandatory=True,
                ),
                enum("status", "Status", "implementation", "production", "obsolete"),
            ),
        ),
        ItopClass(
            "Contract",
            abstract=True,
            naming="{name}",
            own=(
                text("name", "Name", mandatory=True),
                key("org_id", "Organization", "Customer", mandatory=True),
                external("organization_name", "org_id", "name"),
                other("text", "description", "Description"),
                other("day", "start_date", "Start date"),
                other("day", "end_date", "End date"),
                enum("status", "Status", "implementation", "obsolete", "production"),
                key("provider_id", "Organization", "Provider", mandatory=True),
                external("provider_name", "provider_id", "name"),
            ),
        ),
        ItopClass(
            "CustomerContract",
            "Contract",
            own=(links("services_list", "lnkCustomerContractToService", "customercontract_id"),),
        ),
        ItopClass(
            "lnkCustomerContractToService",
            naming="Link between {customercontract_name} and {service_name}",
            own=(
                key("customercontract_id", "CustomerContract", "Customer contract", mandatory=True),
                external("customercontract_name", "customercontract_id", "name"),
                key("service_id", "Service", "Service", mandatory=True),
                external("service_name", "service_id", "name"),
            ),
        ),
        ItopClass(
            "Ticket",
            abstract=True,
            naming="{ref}",
            own=(
                enum(
                    "operational_status",
                    "Operational status",
                    "ongoing",
                    "resolved",
                    "closed",
                    default="ongoing",
                ),
                text("ref", "Ref"),
                key("org_id", "Organization", "Organization", mandatory=True),
                external("org_name", "org_id", "name"),
                key("caller_id", "Person", "Caller"),
                external("caller_name", "caller_id", "name"),
                key("team_id", "Team", "Team"),
                external("team_name", "team_id", "name"),
                external("team_email", "team_id", "email"),
                key("agent_id", "Person", "Agent"),
                external("agent_name", "agent_id", "name"),
                text("title", "Title", mandatory=True),
                other("html", "description", "Description", mandatory=True),
                other("date", "start_date", "Start date"),
                other("date", "end_date", "End date"),
                other("date", "last_update", "Last update"),
                other("date", "close_date", "Close date"),
                other("log", "private_log", "Private log"),
                links("contacts_list"),
                links("workorders_list"),
                links("functionalcis_list"),
            ),
        ),
        ItopClass(
            "UserRequest",
            "Ticket",
            order=("ref", True),
            own=(
                enum("status", "Status", *STATES, default="new", mandatory=True),
                enum("request_type", "Request Type", "incident", "service_request"),
                enum("impact", "Impact", "1", "2", "3", default="1", mandatory=True),
                enum("priority", "Priority", "1", "2", "3", "4", default="4", mandatory=True),
                enum("urgency", "Urgency", "1", "2", "3", "4", default="4", mandatory=True),
                enum(
                    "origin",
                    "Origin",
                    *(("in_person", "chat") if version >= "3.1" else ()),
                    "mail",
                    "phone",
                    "portal",
                    "monitoring",
                    default="phone",
                ),
                key("approver_id", "Person", "Approver"),
                external("approver_email", "approver_id", "email"),
                key("service_id", "Service", "Service"),
                external("service_name", "service_id", "name"),
                key("servicesubcategory_id", "ServiceSubcategory", "Service subcategory"),
                external("servicesubcategory_name", "servicesubcategory_id", "name"),
                enum("escalation_flag", "Hot Flag", "no", "yes", default="no"),
                text("escalation_reason", "Hot reason"),
                other("date", "assignment_date", "Assignment date"),
                other("date", "resolution_date", "Resolution date"),
                other("date", "last_pending_date", "Last pending date"),
                *stopwatch("cumulatedpending"),
                *stopwatch("tto", 75, 100),
                *stopwatch("ttr", 75, 100),
                other("date", "tto_escalation_deadline", "TTO Deadline"),
                enum("sla_tto_passed", "SLA tto passed", "yes", "no", default="no"),
                other("nullable", "sla_tto_over", "SLA tto over"),
                other("date", "ttr_escalation_deadline", "TTR Deadline"),
                enum("sla_ttr_passed", "SLA ttr passed", "yes", "no", default="no"),
                other("nullable", "sla_ttr_over", "SLA ttr over"),
                text("time_spent", "Resolution delay"),
                enum(
                    "resolution_code",
                    "Resolution code",
                    "assistance",
                    "bug fixed",
                    "hardware repair",
                    "other",
                    "software patch",
                    "system update",
                    "training",
                    default="assistance",
                ),
                other("html", "solution", "Solution"),
                other("text", "pending_reason", "Pending reason"),
                key("parent_request_id", "UserRequest", "Parent request"),
                external("parent_request_ref", "parent_request_id", "ref"),
                key("parent_problem_id", "Problem", "Parent problem"),
                external("parent_problem_ref", "parent_problem_id", "ref"),
                key("parent_change_id", "Change", "Parent change"),
                external("parent_change_ref", "parent_change_id", "ref"),
                links("related_request_list", "UserRequest", "parent_request_id"),
                other("log", "public_log", "Public log"),
                enum("user_satisfaction", "User satisfaction", "1", "2", "3", "4", default="1"),
                other("text", "user_comment", "User comment"),
                *(INTERCOM_FIELDS if extension else ()),
            ),
        ),
        ItopClass("Problem", "Ticket", order=("ref", True)),
        ItopClass("Change", "Ticket", order=("ref", True)),
        ItopClass(
            "Attachment",
            naming="{item_class} {temp_id}",
            own=(
                other("date", "expire"),
                text("temp_id"),
                text("item_class", "Item class", mandatory=True),
                other("objkey", "item_id", "Item", default=0),
                other("objkey", "item_org_id", "Item organization", default=0),
                other("blob", "contents", "Contents", filterable=False),
                other("date", "creation_date", "Creation date"),
                key("user_id", "User", "User"),
                key("contact_id", "Person", "Contact"),
            ),
        ),
        ItopClass(
            "InlineImage",
            naming="{item_class} {temp_id}",
            own=(
                other("date", "expire"),
                text("temp_id"),
                text("item_class", "Item class"),
                other("objkey", "item_id", "Item", default=0),
                other("objkey", "item_org_id", "Item organization", default=0),
                other("blob", "contents", "Contents", filterable=False),
                text("secret"),
            ),
        ),
        ItopClass(
            "Trigger",
            abstract=True,
            naming="{description}",
            own=(text("description", mandatory=True), other("text", "context")),
        ),
        ItopClass(
            "TriggerOnObject",
            "Trigger",
            abstract=True,
            own=(text("target_class", mandatory=True), other("text", "filter")),
        ),
        ItopClass("TriggerOnObjectUpdate", "TriggerOnObject", own=(text("target_attcodes"),)),
        ItopClass(
            "TriggerOnStateChange", "TriggerOnObject", abstract=True, own=(text("state", mandatory=True),)
        ),
        ItopClass("TriggerOnStateEnter", "TriggerOnStateChange"),
        ItopClass(
            "Action",
            abstract=True,
            naming="{name}",
            own=(
                text("name", mandatory=True),
                enum("status", "Status", "test", "enabled", "disabled", default="test"),
            ),
        ),
        ItopClass("ActionNotification", "Action", abstract=True),
        ItopClass(
            "ActionEmail",
            "ActionNotification",
            own=(other("text", "to", "To"), other("text", "cc", "Cc"), other("text", "bcc", "Bcc")),
        ),
        ItopClass(
            "lnkTriggerAction",
            own=(
                key("action_id", "Action", mandatory=True),
                external("action_name", "action_id", "name"),
                key("trigger_id", "Trigger", mandatory=True),
                external("trigger_name", "trigger_id", "description"),
                other("integer", "order", "Order", default=0),
            ),
        ),
        *_WEBHOOK_INTEGRATION,
        ItopClass(
            "CMDBChange",
            naming="{date}",
            order=("date", False),
            own=(other("date", "date"), text("userinfo"), key("user_id", "User"), text("origin")),
        ),
        ItopClass(
            "CMDBChangeOp",
            abstract=True,
            naming="{change}",
            order=("change", False),
            own=(
                key("change", "CMDBChange"),
                external("date", "change", "date"),
                external("userinfo", "change", "userinfo"),
                external("user_id", "change", "user_id"),
                text("objclass"),
                other("objkey", "objkey", default=0),
            ),
        ),
        ItopClass("CMDBChangeOpCreate", "CMDBChangeOp"),
        ItopClass("CMDBChangeOpDelete", "CMDBChangeOp", own=(text("fclass"), text("fname"))),
        ItopClass("CMDBChangeOpSetAttribute", "CMDBChangeOp", abstract=True, own=(text("attcode"),)),
        ItopClass(
            "CMDBChangeOpSetAttributeScalar",
            "CMDBChangeOpSetAttribute",
            own=(text("oldvalue"), text("newvalue")),
        ),
        ItopClass(
            "CMDBChangeOpSetAttributeHTML", "CMDBChangeOpSetAttribute", own=(other("text", "prevdata"),)
        ),
        ItopClass(
            "CMDBChangeOpSetAttributeText", "CMDBChangeOpSetAttribute", own=(other("text", "prevdata"),)
        ),
        ItopClass(
            "CMDBChangeOpSetAttributeCaseLog",
            "CMDBChangeOpSetAttribute",
            own=(other("integer", "lastentry"),),
        ),
        ItopClass(
            "CMDBChangeOpAttachmentAdded",
            "CMDBChangeOp",
            own=(key("attachment_id", "Attachment"), text("filename")),
        ),
    )


@dataclass
class DataModel:
    """The classes, with inherited and derived attributes, parents and children."""

    extension: bool = True
    version: str = VERSIONS[-1]
    by_name: dict[str, ItopClass] = field(init=False)
    _attributes: dict[str, dict[str, Attribute]] = field(init=False, default_factory=dict)
    _filter_codes: dict[str, list[str]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        if self.version not in VERSIONS:
            raise ValueError(f"unknown version {self.version!r}; there are {', '.join(VERSIONS)}")
        self.by_name = {each.name: each for each in classes(extension=self.extension, version=self.version)}

    def __contains__(self, name: object) -> bool:
        return name in self.by_name

    def __getitem__(self, name: str) -> ItopClass:
        return self.by_name[name]

    def root(self, name: str) -> str:
        """Return the topmost ancestor, whose objects share one series of ids."""
        while self.by_name[name].parent:
            name = self.by_name[name].parent
        return name

    def roots(self) -> Iterator[str]:
        return (each.name for each in self.by_name.values() if not each.parent)

    def lineage(self, name: str) -> list[ItopClass]:
        """Return the classes from the topmost ancestor down to this class."""
        found: list[ItopClass] = []
        while name:
            found.insert(0, self.by_name[name])
            name = self.by_name[name].parent
        return found

    def is_a(self, name: str, ancestor: str) -> bool:
        return any(each.name == ancestor for each in self.lineage(name))

    def concrete(self, name: str) -> list[str]:
        """Return the class and its descendants, without abstract classes."""
        return [
            each.name for each in self.by_name.values() if not each.abstract and self.is_a(each.name, name)
        ]

    def has_children(self, name: str) -> bool:
        return any(each.parent == name for each in self.by_name.values())

    def naming(self, name: str) -> str:
        return next((each.naming for each in reversed(self.lineage(name)) if each.naming), "")

    def obsolete_when(self, name: str) -> str:
        return next((each.obsolete_when for each in reversed(self.lineage(name)) if each.obsolete_when), "")

    def order(self, name: str) -> tuple[str, bool]:
        """Return the attribute by which iTop orders the objects, and whether the newest come first."""
        orders = (each.order for each in reversed(self.lineage(name)) if each.order)
        return next(orders, ("friendlyname", False))

    def declared(self, name: str) -> list[Attribute]:
        return [attribute for each in self.lineage(name) for attribute in each.own]

    def attributes(self, name: str) -> dict[str, Attribute]:
        """Return all attributes by code, in the order of ``output_fields: "*"``. ``id`` comes last."""
        if name not in self._attributes:
            declared = self.declared(name)
            found = [*declared, *self._implicit_attributes(name)]
            for attribute in declared:
                found += self.derived_from(attribute)
            self._attributes[name] = {
                each.code: each for each in (*found, Attribute("id", "id", derived=True))
            }
        return self._attributes[name]

    def filter_codes(self, name: str) -> list[str]:
        """Return the names that OQL accepts, in the order in which iTop lists them (recording 044)."""
        if name in self._filter_codes:
            return self._filter_codes[name]
        found = [each.code for each in self._implicit_attributes(name)]
        if "finalclass" not in found:
            found.insert(0, "finalclass")
        for attribute in self.declared(name):
            if attribute.filterable:
                found += [attribute.code, *(each.code for each in self.derived_from(attribute))]
        self._filter_codes[name] = [*found, "id"]
        return self._filter_codes[name]

    def _implicit_attributes(self, name: str) -> list[Attribute]:
        """Return the attributes that iTop adds to each class: its name, its class and its obsolescence."""
        found = [Attribute("friendlyname", derived=True)]
        if self.by_name[name].parent or self.has_children(name):
            found.insert(0, Attribute("finalclass", derived=True))
        if self.obsolete_when(name):
            found += [
                Attribute("obsolescence_flag", "flag", derived=True),
                Attribute("obsolescence_date", "date", derived=True),
            ]
        return found

    def derived_from(self, attribute: Attribute) -> list[Attribute]:
        """Return the attributes that iTop adds for an external key: name, class and obsolescence of its object."""
        # This external field is an external key in the other object (CMDBChange).
        if (attribute.via, attribute.remote) == ("change", "user_id"):
            name = f"{attribute.code}_friendlyname"
            return [replace(external(name, "change", name), derived=True)]
        if attribute.kind != "key":
            return []
        found = [external(f"{attribute.code}_friendlyname", attribute.code, "friendlyname")]
        if self.by_name[attribute.target].abstract:
            found.append(external(f"{attribute.code}_finalclass_recall", attribute.code, "finalclass"))
        if self.obsolete_when(attribute.target):
            found.append(external(f"{attribute.code}_obsolescence_flag", attribute.code, "obsolescence_flag"))
        return [replace(each, derived=True) for each in found]

    def keys_to(self, name: str) -> Iterator[tuple[str, Attribute]]:
        """Yield each external key that may refer to an object of the class, with the class that declares the key."""
        for each in self.by_name.values():
            for attribute in each.own:
                if attribute.kind == "key" and self.is_a(name, attribute.target):
                    yield each.name, attribute


@cache
def data_model(*, extension: bool = True, version: str = VERSIONS[-1]) -> DataModel:
    """Return the data model of a version, with or without the PHP extension's attributes. All stores share it.

    Raise ValueError if the version is not in VERSIONS.
    """
    return DataModel(extension=extension, version=version)
