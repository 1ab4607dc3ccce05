"""A Grafana as its HTTP API is documented, for as much of it as is used here: strict about paths, methods, bodies,
tokens and versions, and with what makes it refuse. It keeps everything in memory, and what it was asked.

- https://grafana.com/docs/grafana/latest/developers/http_api/dashboard/ and dashboard_versions/
- .../folder/, .../data_source/, .../alerting_provisioning/, .../other/#health-api
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

Json = dict[str, Any]
TOKEN = "glsa_a-token-of-a-service-account"


class Refused(Exception):
    def __init__(self, status: int, message: str, /, **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"message": message, **more}


@dataclass
class Grafana:
    """Everything that it holds."""

    url: str = ""
    version: str = "11.6.0"
    prefix: str = ""
    viewer: bool = False
    folders: dict[str, Json] = field(default_factory=dict)
    data_sources: dict[str, Json] = field(default_factory=dict)
    dashboards: dict[str, list[Json]] = field(default_factory=dict)
    """Every version's body as it was saved, with `meta`; the latest is the last."""
    groups: dict[tuple[str, str], Json] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    fails_on: str | None = None
    before: Callable[[str, str], None] | None = None

    def writes(self) -> list[tuple[str, str]]:
        return [(method, path) for method, path in self.asked if method != "GET"]

    def edit(self, uid: str, **changed: Any) -> None:
        """What someone's save in the browser does."""
        last = self.dashboards[uid][-1]
        board = {**last["dashboard"], **changed, "version": last["dashboard"]["version"] + 1}
        self.dashboards[uid].append({**last, "dashboard": board, "message": ""})

    def answer(self, method: str, path: str, headers: dict[str, str], body: Any) -> Any:
        if not path.startswith(self.prefix + "/api/"):
            raise Refused(404, "Not found")
        path = path.removeprefix(self.prefix + "/api")
        self.asked.append((method, path))
        if path == "/health" and method == "GET":
            return {"commit": "c0ffee", "database": "ok", "version": self.version}
        if headers.get("authorization") != f"Bearer {TOKEN}":
            raise Refused(401, "Invalid API key")
        if method != "GET":
            if not headers.get("content-type", "").startswith("application/json"):
                raise Refused(400, "bad request data")
            if self.viewer:
                raise Refused(403, "You'll need additional permissions to perform this action.", title="Access denied")
            if self.before is not None:
                self.before(method, path)
            if self.fails_on is not None and path.startswith(self.fails_on):
                raise Refused(500, "database is locked")
        return self._route(method, path.strip("/").split("/"), body)

    def _route(self, method: str, parts: list[str], body: Any) -> Any:
        match method, parts:
            case "GET", ["folders"]:
                return [{"id": each["id"], "uid": uid, "title": each["title"]} for uid, each in self.folders.items()]
            case "GET", ["folders", uid]:
                return _there(self.folders, uid, "folder not found")
            case "POST", ["folders"]:
                return self._make_folder(body)
            case "GET", ["datasources", "uid", uid]:
                return _there(self.data_sources, uid, "Data source not found")
            case "POST", ["datasources"]:
                return self._make_data_source(body)
            case "PUT", ["datasources", "uid", uid]:
                return self._change_data_source(uid, body)
            case "GET", ["dashboards", "uid", uid]:
                last = _there(self.dashboards, uid, "Dashboard not found")[-1]
                return {"dashboard": last["dashboard"], "meta": last["meta"]}
            case "GET", ["dashboards", "uid", uid, "versions"]:
                return self._versions(uid)
            case "POST", ["dashboards", "db"]:
                return self._save(body)
            case "GET", ["v1", "provisioning", "folder", folder, "rule-groups", group]:
                return _there(self.groups, (folder, group), "rule group not found")
            case "PUT", ["v1", "provisioning", "folder", folder, "rule-groups", group]:
                return self._put_group(folder, group, body)
            case _:
                raise Refused(404, "Not found")

    def _make_folder(self, body: Json) -> Json:
        _only(body, {"uid", "title", "parentUid"})
        if not body.get("title"):
            raise Refused(400, "folder title cannot be empty")
        _uid(body["uid"])
        if body["uid"] in self.folders:
            raise Refused(409, "a folder with that UID already exists")
        self.folders[body["uid"]] = {"id": len(self.folders) + 1, "version": 1, "canSave": True, **body}
        return self.folders[body["uid"]]

    def _make_data_source(self, body: Json) -> Json:
        if any(each["name"] == body["name"] for each in self.data_sources.values()):
            raise Refused(409, "data source with the same name already exists")
        _data_source(body)
        made = {"id": len(self.data_sources) + 1, "orgId": 1, "version": 1, "readOnly": False, "basicAuth": False,
                "isDefault": False, "secureJsonFields": {}, **body}  # fmt: skip
        self.data_sources[body["uid"]] = made
        return {"datasource": made, "id": made["id"], "message": "Datasource added", "name": made["name"]}

    def _change_data_source(self, uid: str, body: Json) -> Json:
        before = _there(self.data_sources, uid, "Data source not found")
        _data_source(body)
        if before["readOnly"]:
            raise Refused(403, "Cannot update read-only data source")
        if body.get("version", before["version"]) != before["version"]:
            raise Refused(409, "Datasource has already been updated by someone else. Please reload and try again")
        self.data_sources[uid] = {**before, **body, "version": before["version"] + 1}
        return {"datasource": self.data_sources[uid], "id": before["id"], "message": "Datasource updated", "name": uid}

    def _versions(self, uid: str) -> Any:
        saved = _there(self.dashboards, uid, "Dashboard not found")
        listed = [
            {
                "id": each["dashboard"]["version"],
                "uid": uid,
                "version": each["dashboard"]["version"],
                "message": each["message"],
            }
            for each in reversed(saved)
        ]
        return listed if int(self.version.partition(".")[0]) < 12 else {"continueToken": "", "versions": listed}

    def _save(self, body: Json) -> Json:
        _only(body, {"dashboard", "folderUid", "folderId", "message", "overwrite"})
        board: Json = body["dashboard"]
        uid = board["uid"]
        _uid(uid)
        if not board.get("title"):
            raise Refused(400, "Dashboard title cannot be empty")
        if body.get("folderUid") and body["folderUid"] not in self.folders:
            raise Refused(400, "folder not found", status="not-found")
        saved = self.dashboards.setdefault(uid, [])
        if saved and saved[-1]["meta"].get("provisioned"):
            raise Refused(400, "Cannot save provisioned dashboard")
        latest = saved[-1]["dashboard"]["version"] if saved else 0
        if saved and not body.get("overwrite") and board.get("version", 0) != latest:
            raise Refused(412, "The dashboard has been changed by someone else", status="version-mismatch")
        stored = {**json.loads(json.dumps(board)), "id": len(self.dashboards), "version": latest + 1}
        # Without a folder it is moved to the root.
        meta = {"folderUid": body.get("folderUid", ""), "provisioned": False, "version": latest + 1}
        saved.append({"dashboard": stored, "meta": meta, "message": body.get("message", "")})
        return {
            "id": stored["id"],
            "uid": uid,
            "status": "success",
            "version": latest + 1,
            "url": f"/d/{uid}",
            "slug": uid,
        }

    def _put_group(self, folder: str, group: str, body: Json) -> Json:
        _only(body, {"title", "folderUid", "interval", "rules"})
        if folder not in self.folders:
            raise Refused(404, "folder not found")
        if not isinstance(body["interval"], int) or body["interval"] % 10:
            raise Refused(400, "interval must be a multiple of the base interval 10s")
        before = {rule["uid"]: rule for rule in self.groups.get((folder, group), {"rules": []})["rules"]}
        if any(rule["provenance"] == "file" for rule in before.values()):
            raise Refused(409, "cannot change provenance from 'file' to 'api'")
        rules = [_rule(rule, folder, group, self.data_sources) for rule in body["rules"]]
        if len({rule["title"] for rule in rules}) < len(rules):
            raise Refused(409, "a conflicting alert rule is found: rule title under the same organisation and folder")
        self.groups[folder, group] = {"title": group, "folderUid": folder, "interval": body["interval"], "rules": rules}
        return self.groups[folder, group]


def _rule(rule: Json, folder: str, group: str, data_sources: dict[str, Json]) -> Json:
    required = {"title", "condition", "data", "noDataState", "execErrState", "for", "folderUID", "ruleGroup"}
    if missing := required - rule.keys():
        raise Refused(400, f"invalid alert rule: {', '.join(sorted(missing))} missing")
    _only(rule, required | {"uid", "id", "orgID", "labels", "annotations", "isPaused", "provenance", "updated"})
    _uid(rule["uid"])
    if (rule["folderUID"], rule["ruleGroup"]) != (folder, group):
        raise Refused(400, "invalid alert rule: folder or group mismatch")
    if rule["noDataState"] not in {"NoData", "Alerting", "OK", "KeepLast"}:
        raise Refused(400, "unknown no data state option")
    if rule["execErrState"] not in {"Error", "Alerting", "OK", "KeepLast"}:
        raise Refused(400, "unknown error state option")
    for query in rule["data"]:
        if query["datasourceUid"] != "__expr__" and query["datasourceUid"] not in data_sources:
            raise Refused(400, "invalid alert rule: data source not found")
        if query["model"]["refId"] != query["refId"]:
            raise Refused(400, "invalid alert rule: refId mismatch")
        if query["relativeTimeRange"]["from"] <= query["relativeTimeRange"]["to"]:
            raise Refused(400, "invalid alert rule: invalid relative time range")
    if rule["condition"] not in {query["refId"] for query in rule["data"]}:
        raise Refused(400, "condition does not exist, must be one of the queries")
    stored = json.loads(json.dumps(rule))
    for query in stored["data"]:
        query["queryType"] = ""
        query["model"] = {"intervalMs": 1000, "maxDataPoints": 43200, **query["model"]}
    return {"id": 1, "orgID": 1, "provenance": "api", "updated": "2026-01-01T00:00:00Z", **stored,
            "for": "0s" if rule["for"] in ("0m", "0s") else rule["for"]}  # fmt: skip


def _data_source(body: Json) -> None:
    if missing := {"name", "type", "access", "url"} - body.keys():
        raise Refused(400, f"bad request data: {', '.join(sorted(missing))} missing")


def _only(body: Json, known: set[str]) -> None:
    if unknown := body.keys() - known:
        raise Refused(400, f"bad request data: {', '.join(sorted(unknown))}")


def _uid(uid: str) -> None:
    if not uid or len(uid) > 40 or not all(each.isalnum() or each in "-_" for each in uid):
        raise Refused(400, "uid contains illegal characters")


def _there(held: dict[Any, Any], key: Any, message: str) -> Any:
    if not held.get(key):
        raise Refused(404, message)
    return held[key]


@contextmanager
def serving(grafana: Grafana) -> Iterator[Grafana]:
    """The server, on the loopback address."""

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status = 200
            try:
                body = json.loads(raw) if raw and self.command != "GET" else None
                reply = grafana.answer(self.command, unquote(urlsplit(self.path).path), headers, body)
            except Refused as refused:
                status, reply = refused.status, refused.body
            content = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json; charset=UTF-8")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def __getattr__(self, name: str) -> Any:
            if name.startswith("do_"):
                return self._do
            raise AttributeError(name)

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    grafana.url = f"http://127.0.0.1:{server.server_port}{grafana.prefix}"
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield grafana
    finally:
        server.shutdown()
        server.server_close()
