"""Compares a Grafana with what this project would put there, and makes the changes.

`changes` compares, and each `Change` can be carried out. A dashboard saved by this project says so in the message of
its latest version; one with any other message was edited by hand, and is not overwritten unless forced. Each save names
the version that was compared, so that Grafana refuses it if another change came in between.
"""

# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownVariableType=false
from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from grafana_client.api import GrafanaApi
from grafana_client.client import GrafanaClientError

from cluster.config.monitoring import Objectives
from cluster.grafana.alerts import EVALUATED_EVERY_S, GROUP, alerts, grafana_rule
from cluster.grafana.diff import differences
from cluster.grafana.manifests import DASHBOARDS, FOLDER
from cluster.grafana.panels import Dashboard, model

FOLDER_UID = "fusion-cluster"


DATA_SOURCE_UID = "fusion-prometheus"


_SAVED = re.compile(r"fusion grafana push ([0-9a-f]{16})")


Json = dict[str, Any]


Action = Literal["create", "update", "keep", "leave"]


@dataclass(frozen=True)
class Wanted:
    """What a Grafana is to have: where Prometheus is as Grafana sees it, what that data source is called, or the uid of
    one that is there already; and what the alerts hold."""

    prometheus_url: str
    data_source_name: str
    data_source_uid: str | None
    objectives: Objectives


@dataclass(frozen=True)
class Change:
    """One thing in Grafana. `leave` is one that is not touched, for `why`; `forcible` when force may do it still."""

    what: str
    action: Action
    do: Callable[[], object]
    details: tuple[str, ...] = ()
    why: str = ""
    forcible: bool = False

    def forced(self) -> Change:
        """The same, done all the same."""
        return replace(self, action="update") if self.forcible else self


def changes(api: GrafanaApi, wanted: Wanted) -> Iterator[Change]:
    """Everything that is wanted, in the order in which it has to be done; nothing is changed yet.

    Raises:
        GrafanaException: Grafana refuses to tell.
    """
    yield _folder(api)
    yield _data_source(api, wanted)
    for board in DASHBOARDS:
        yield _dashboard(api, board)
    yield _rules(api, wanted)


def _folder(api: GrafanaApi) -> Change:
    found = _found(lambda: api.folder.get_folder(FOLDER_UID))
    return Change(
        f"folder {FOLDER}",
        "create" if found is None else "keep",
        lambda: api.folder.create_folder(FOLDER, FOLDER_UID),
    )


def _data_source(api: GrafanaApi, wanted: Wanted) -> Change:
    uid = wanted.data_source_uid or DATA_SOURCE_UID
    found = _found(lambda: api.datasource.get_datasource_by_uid(uid))
    what = f"data source {wanted.data_source_name}"
    ours: Json = {
        "uid": DATA_SOURCE_UID,
        "name": wanted.data_source_name,
        "type": "prometheus",
        "access": "proxy",
        "url": wanted.prometheus_url,
        "jsonData": {"httpMethod": "POST"},
    }
    if wanted.data_source_uid is not None:
        there = found is not None and found.get("type") == "prometheus"
        why = "" if there else "there is none of type prometheus with this uid"
        return Change(f"data source {uid}", "keep" if there else "leave", _nothing, why=why)
    if found is None:
        return Change(what, "create", lambda: api.datasource.create_datasource(ours))
    details = tuple(differences(found, ours))
    if not details:
        return Change(what, "keep", _nothing)
    if found.get("readOnly"):
        return Change(what, "leave", _nothing, details, "provisioned by a file: change it there")
    return Change(
        what,
        "leave",
        lambda: api.datasource.update_datasource_by_uid(DATA_SOURCE_UID, {**found, **ours}),
        details,
        "set up otherwise",
        forcible=True,
    )


def _dashboard(api: GrafanaApi, board: Dashboard) -> Change:
    ours = model(board)
    what = f"dashboard {board.title}"
    found = _found(lambda: api.dashboard.get_dashboard(board.uid))
    if found is None:
        return Change(what, "create", lambda: api.dashboard.update_dashboard(_save(ours, FOLDER_UID, None)))
    meta: Json = found["meta"]
    version: int = found["dashboard"]["version"]
    saved = _SAVED.fullmatch(_last_message(api, board.uid, version))
    if saved and saved[1] == fingerprint(ours):
        return Change(what, "keep", _nothing)
    details = tuple(differences(found["dashboard"], ours))
    if meta.get("provisioned"):
        return Change(what, "leave", _nothing, details, "provisioned by a file or a config map: change it there")
    # One that was moved stays where it is.
    body = _save(ours, meta.get("folderUid") or "", version)
    if saved:
        return Change(what, "update", lambda: api.dashboard.update_dashboard(body), details)
    return Change(what, "leave", lambda: api.dashboard.update_dashboard(body), details, "edited by hand", forcible=True)


def _rules(api: GrafanaApi, wanted: Wanted) -> Change:
    uid = wanted.data_source_uid or DATA_SOURCE_UID
    ours = [grafana_rule(alert, FOLDER_UID, uid) for alert in alerts(wanted.objectives)]
    body: Json = {"title": GROUP, "folderUid": FOLDER_UID, "interval": EVALUATED_EVERY_S, "rules": ours}
    what = f"alert rules {GROUP}"
    found = _found(lambda: api.alertingprovisioning.get_rule_group(FOLDER_UID, GROUP))

    def put() -> object:
        return api.alertingprovisioning.update_rule_group(FOLDER_UID, GROUP, body)

    rules: list[Json] = [] if found is None else found.get("rules") or []
    if not rules:
        return Change(what, "create", put, tuple(rule["title"] for rule in ours))
    there = {rule["uid"]: rule for rule in rules}
    details = tuple(_of_rules(there, ours, found or {}))
    if any(rule.get("provenance") == "file" for rule in rules):
        return Change(what, "leave", _nothing, details, "provisioned by a file: change them there")
    foreign = sorted(rule["title"] for rule in rules if rule["uid"] not in {each["uid"] for each in ours})
    by_hand = sorted(rule["title"] for rule in rules if rule.get("provenance") != "api")
    if by_hand or foreign:
        why = f"made or edited by hand: {', '.join(dict.fromkeys(by_hand + foreign))}"
        return Change(what, "leave", put, details, why, forcible=True)
    return Change(what, "update" if details else "keep", put, details)


def _of_rules(there: dict[str, Json], ours: Sequence[Json], group: Json) -> Iterator[str]:
    if group.get("interval") != EVALUATED_EVERY_S:
        yield f"interval: {group.get('interval')} -> {EVALUATED_EVERY_S}"
    for rule in ours:
        before = there.get(rule["uid"])
        if before is None:
            yield f"{rule['title']}: new"
        else:
            yield from (f"{rule['title']}: {each}" for each in differences(before, rule))
    wanted = {rule["uid"] for rule in ours}
    yield from (f"{rule['title']}: removed" for uid, rule in there.items() if uid not in wanted)


def fingerprint(board: Json) -> str:
    """The same for models that say the same."""
    return hashlib.sha256(json.dumps(board, sort_keys=True).encode()).hexdigest()[:16]


def _save(board: Json, folder_uid: str, version: int | None) -> Json:
    versioned = board if version is None else {**board, "version": version}
    message = f"fusion grafana push {fingerprint(board)}"
    return {"dashboard": versioned, "folderUid": folder_uid, "message": message, "overwrite": False}


def _last_message(api: GrafanaApi, uid: str, version: int) -> str:
    reply: Any = api.dashboard_versions.get_dashboard_versions(dashboard_uid=uid)
    # Grafana 12 put the list into an object.
    listed = cast("list[Json]", reply.get("versions", []) if isinstance(reply, dict) else reply)
    return next((each.get("message") or "" for each in listed if each["version"] == version), "")


def _found(ask: Callable[[], Any]) -> Json | None:
    try:
        return ask()
    except GrafanaClientError as error:
        if error.status_code == 404:
            return None
        raise


def _nothing() -> None: ...
