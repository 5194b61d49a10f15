"""A small OpenML of iris: its documents, a cache made of them, and a server on 127.0.0.1 that replays them.

Documents and answers have the form of those recorded in the test files of openml-python.
"""

import gzip
import hashlib
import threading
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import numpy as np
import xmltodict
from sklearn.datasets import load_iris
from sklearn.model_selection import StratifiedKFold

API = "/api/v1/xml"
NS = 'xmlns:oml="http://openml.org/openml"'
LABELS = ["virginica", "setosa", "versicolor"]  # declared in another order than the sorted one
CLASSIFICATION, REGRESSION, OTHER_DATA, UNKNOWN = 61, 62, 63, 404
SUITE = 7
TASKS = {CLASSIFICATION: (1, 61, "class"), REGRESSION: (2, 61, "petal_length"), OTHER_DATA: (1, 62, "class")}
TASK_TYPES = {1: "Supervised Classification", 2: "Supervised Regression"}


def iris(labels=LABELS):
    """Names, nominal values and rows of iris, with one nominal column and missing values."""
    X, y = load_iris(return_X_y=True)
    rows = [[f"{length:g}", f"{petal:g}", "wide" if width > 3 else "narrow"] for length, width, petal, _ in X]
    rows[3][0] = rows[5][2] = "?"
    names = {0: "setosa", 1: "versicolor", 2: "virginica"}
    if labels is not LABELS:
        names = {target: labels[target % len(labels)] for target in names}
    for row, target in zip(rows, y, strict=True):
        row.append(names[target])
    columns = {"sepal_length": None, "petal_length": None, "sepal_width": ["narrow", "wide"], "class": labels}
    return columns, rows


def arff(labels=LABELS):
    """The data as ARFF."""
    columns, rows = iris(labels)
    head = [
        f"@ATTRIBUTE {name} {'{' + ','.join(values) + '}' if values else 'REAL'}" for name, values in columns.items()
    ]
    return "\n".join(["@RELATION iris", *head, "@DATA", *map(",".join, rows)]) + "\n"


def description(data_id, url, text):
    """The answer to data/ID."""
    return (
        f"<oml:data_set_description {NS}><oml:id>{data_id}</oml:id><oml:name>iris</oml:name>"
        "<oml:version>1</oml:version><oml:description>R.A. Fisher</oml:description><oml:format>ARFF</oml:format>"
        f"<oml:licence>Public</oml:licence><oml:url>{url}/data/v1/download/{data_id}/iris.arff</oml:url>"
        f"<oml:file_id>{data_id}</oml:file_id><oml:default_target_attribute>class</oml:default_target_attribute>"
        "<oml:visibility>public</oml:visibility><oml:status>active</oml:status>"
        f"<oml:md5_checksum>{hashlib.md5(text.encode()).hexdigest()}</oml:md5_checksum></oml:data_set_description>"
    )


def features(labels=LABELS):
    """The answer to data/features/ID."""
    found = []
    for index, (name, values) in enumerate(iris(labels)[0].items()):
        nominal = "".join(f"<oml:nominal_value>{value}</oml:nominal_value>" for value in values or ())
        found.append(
            f"<oml:feature><oml:index>{index}</oml:index><oml:name>{name}</oml:name>"
            f"<oml:data_type>{'nominal' if values else 'numeric'}</oml:data_type>{nominal}"
            f"<oml:is_target>{str(name == 'class').lower()}</oml:is_target><oml:is_ignore>false</oml:is_ignore>"
            "<oml:is_row_identifier>false</oml:is_row_identifier>"
            "<oml:number_of_missing_values>0</oml:number_of_missing_values></oml:feature>"
        )
    return f"<oml:data_features {NS}>{''.join(found)}</oml:data_features>"


def task(task_id, url):
    """The answer to task/ID."""
    kind, data_id, target = TASKS[task_id]
    return (
        f"<oml:task {NS}><oml:task_id>{task_id}</oml:task_id><oml:task_type_id>{kind}</oml:task_type_id>"
        f"<oml:task_type>{TASK_TYPES[kind]}</oml:task_type>"
        f'<oml:input name="source_data"><oml:data_set><oml:data_set_id>{data_id}</oml:data_set_id>'
        f"<oml:target_feature>{target}</oml:target_feature></oml:data_set></oml:input>"
        '<oml:input name="estimation_procedure"><oml:estimation_procedure><oml:id>1</oml:id>'
        "<oml:type>crossvalidation</oml:type>"
        f"<oml:data_splits_url>{url}/api_splits/get/{task_id}/Task_{task_id}_splits.arff</oml:data_splits_url>"
        '<oml:parameter name="number_repeats">1</oml:parameter><oml:parameter name="number_folds">2</oml:parameter>'
        '<oml:parameter name="percentage"></oml:parameter></oml:estimation_procedure></oml:input>'
        '<oml:input name="evaluation_measures"><oml:evaluation_measures><oml:evaluation_measure>predictive_accuracy'
        "</oml:evaluation_measure></oml:evaluation_measures></oml:input></oml:task>"
    )


def splits():
    """Two folds as ARFF."""
    y = load_iris().target
    lines = ["@RELATION splits", "@ATTRIBUTE type {TRAIN,TEST}"]
    lines += [f"@ATTRIBUTE {name} NUMERIC" for name in ("rowid", "repeat", "fold")] + ["@DATA"]
    for fold, parts in enumerate(StratifiedKFold(2, shuffle=True, random_state=0).split(y, y)):
        for kind, rows in zip(("TRAIN", "TEST"), parts, strict=True):
            lines += [f"{kind},{row},0,{fold}" for row in rows]
    return "\n".join(lines) + "\n"


def suite(task_ids):
    """The answer to study/ID."""
    ids = "".join(f"<oml:task_id>{task_id}</oml:task_id>" for task_id in task_ids)
    return (
        f"<oml:study {NS}><oml:id>{SUITE}</oml:id><oml:main_entity_type>task</oml:main_entity_type>"
        "<oml:name>small</oml:name><oml:description>small</oml:description><oml:status>active</oml:status>"
        "<oml:creation_date>2019-02-21 18:47:13</oml:creation_date><oml:creator>1</oml:creator>"
        f"<oml:tasks>{ids}</oml:tasks></oml:study>"
    )


def error(code, message):
    """The server's answer when it refuses."""
    return f"<oml:error {NS}><oml:code>{code}</oml:code><oml:message>{message}</oml:message></oml:error>"


def write_cache(root, labels=LABELS):
    """Lay all tasks and their data out as the client caches them; returns the folder."""
    for task_id, (_, data_id, _) in TASKS.items():
        files = {
            f"tasks/{task_id}/task.xml": task(task_id, ""),
            f"tasks/{task_id}/datasplits.arff": splits(),
            f"datasets/{data_id}/description.xml": description(data_id, "", arff(labels)),
            f"datasets/{data_id}/features.xml": features(labels),
            f"datasets/{data_id}/dataset.arff": arff(labels),
        }
        for name, text in files.items():
            path = Path(root, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return Path(root)


class ReplayServer(ThreadingHTTPServer):
    """Answers as the OpenML server does; ``cut`` holds paths whose download breaks off, ``runs`` what was uploaded."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.cut, self.flows, self.runs = set(), {}, []
        self.documents = {f"{API}/study/{SUITE}": suite([CLASSIFICATION, OTHER_DATA])}
        for task_id, (_, data_id, _) in TASKS.items():
            self.documents |= {
                f"{API}/task/{task_id}": task(task_id, self.url),
                f"/api_splits/get/{task_id}/Task_{task_id}_splits.arff": splits(),
                f"{API}/data/{data_id}": description(data_id, self.url, arff()),
                f"{API}/data/features/{data_id}": features(),
                f"/data/v1/download/{data_id}/iris.arff": arff(),
            }

    def __enter__(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *exception):
        self.shutdown()
        self.server_close()

    def add_flow(self, text):
        """Keep an uploaded flow, and give it and its components ids as the server does."""
        flow = xmltodict.parse(text)
        self._number(flow["oml:flow"])
        flow_id = int(flow["oml:flow"]["oml:id"])
        self.documents[f"{API}/flow/{flow_id}"] = xmltodict.unparse(flow)
        return flow_id

    def _number(self, flow):
        key = flow["oml:name"], flow["oml:external_version"]
        flow["oml:id"] = str(self.flows.setdefault(key, 100 + len(self.flows)))
        flow |= {"oml:uploader": "1", "oml:version": "1", "oml:upload_date": "2030-01-01T00:00:00"}
        components = flow.get("oml:component") or []
        for component in components if isinstance(components, list) else [components]:
            self._number(component["oml:flow"])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = self.path.partition("?")[0]
        if path in self.server.documents:
            self._answer(200, self.server.documents[path], cut=path in self.server.cut)
        else:
            self._answer(412, error(151, "Unknown task"))

    def do_POST(self):
        fields = self._fields()
        if not fields.get("api_key"):
            self._answer(412, error(102, "Authentication failed"))
        elif self.path == f"{API}/flow/exists":
            flow_id = self.server.flows.get((fields["name"], fields["external_version"]), 0)
            self._answer(200, f"<oml:flow_exists {NS}><oml:id>{flow_id}</oml:id></oml:flow_exists>")
        elif self.path == f"{API}/flow/":
            flow_id = self.server.add_flow(fields["description"])
            self._answer(200, f"<oml:upload_flow {NS}><oml:id>{flow_id}</oml:id></oml:upload_flow>")
        elif self.path == f"{API}//setup/exists/":
            self._answer(
                200, f"<oml:setup_exists {NS}><oml:exists>false</oml:exists><oml:id>-1</oml:id></oml:setup_exists>"
            )
        elif self.path == f"{API}/run/":
            self.server.runs.append(fields)
            run_id = 1000 + len(self.server.runs)
            self._answer(200, f"<oml:upload_run {NS}><oml:run_id>{run_id}</oml:run_id></oml:upload_run>")
        else:
            self._answer(404, error(100, "Function not valid"))

    def _fields(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        kind = self.headers["Content-Type"]
        if kind.startswith("application/x-www-form-urlencoded"):
            return {name: values[0] for name, values in parse_qs(body.decode()).items()}
        message = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
        parts = {part.get_param("name", header="content-disposition"): part for part in message.get_payload()}
        return {name: part.get_payload(decode=True).decode() for name, part in parts.items()}

    def _answer(self, status, text, cut=False):
        body = gzip.compress(text.encode())
        self.send_response(status)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = cut

    def log_message(self, *arguments):
        pass


def probabilities(run, labels):
    """What a run stores as class probabilities, of shape (n_rows, n_classes), with its table of predictions."""
    table = run.predictions
    return np.array(table[[f"confidence.{label}" for label in labels]], dtype=float), table
