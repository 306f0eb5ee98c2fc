"""Sends one request through a release, then checks the statistics that autoscaling reads; run by `helm test`."""

import base64
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

from placerank.schema.traveller import EXAMPLE

API = os.environ["TEST_API_URL"]
KEY = (os.environ.get("PLACERANK_API__ADMIN_KEYS") or os.environ.get("PLACERANK_API__KEYS") or "").split(",")[0].strip()
PATIENCE_S = 180
TRAVELLER = {**EXAMPLE, "name": "helm test"}


def call(method, url, body=None, authorization=None):
    """The status and the JSON of a reply; raises OSError when there is none."""
    headers = {"Content-Type": "application/json"}
    if authorization:
        headers["Authorization"] = authorization
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")


def api(method, path, body=None):
    """The JSON of the API's reply; any other status than 200 ends the test, 503 only after PATIENCE_S seconds."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            status, reply = call(method, API + path, body, f"Bearer {KEY}" if KEY else None)
        except OSError as error:
            status, reply = 503, str(error)
        if status == 200:
            return reply
        if status != 503 or time.monotonic() > deadline:
            sys.exit(f"{method} {path} answered {status}: {reply}")
        print(f"{method} {path}: {status}, {str(reply)[:160]}; retrying", flush=True)
        time.sleep(2)


def round_trip():
    """Start an inference, wait for it, read the results and choose a place."""
    begun = time.monotonic()
    task = api("POST", "/inference/start", TRAVELLER)["task_id"]
    status = {"status": "PENDING"}
    while status["status"] in ("PENDING", "STARTED") and time.monotonic() - begun < PATIENCE_S:
        status = api("GET", f"/inference/status/{task}?wait=10")
    if status["status"] != "SUCCESS":
        sys.exit(f"inference {task} has the status {status['status']} after {time.monotonic() - begun:.0f} s")
    places = api("GET", f"/inference/results/{task}")
    scores = [place["score"] for place in places]
    if not places or scores != sorted(scores, reverse=True):
        sys.exit(f"the results are not sorted by score: {scores}")
    chosen = places[0]["location_id"]
    api("PUT", "/inference/select/", {"task_id": task, "location_id": chosen})
    print(f"inference {task}: {len(places)} places by {status.get('model_version')}, chose {chosen}, "
          f"{time.monotonic() - begun:.2f} s", flush=True)  # fmt: skip


def statistics():
    """Wait until the broker reports the queue's length: without it KEDA does not scale, and reports no error."""
    base = os.environ.get("PLACERANK_BROKER__MANAGEMENT_URL", "")
    if not base:
        print("PLACERANK_BROKER__MANAGEMENT_URL is not set: the broker's statistics are not checked", flush=True)
        return
    user = f"{os.environ['PLACERANK_BROKER__USER']}:{os.environ['PLACERANK_BROKER__PASSWORD']}"
    authorization = "Basic " + base64.b64encode(user.encode()).decode()
    url = f"{base}/api/queues/{urllib.parse.quote(os.environ['TEST_VHOST'], safe='')}/{os.environ['TEST_QUEUE']}"
    deadline = time.monotonic() + 60
    seen = None
    while time.monotonic() < deadline:
        try:
            seen = call("GET", url, authorization=authorization)
        except OSError as error:
            seen = (503, str(error))
        if seen[0] == 200 and isinstance(seen[1].get("messages"), int):
            print(
                f"{os.environ['TEST_QUEUE']}: {seen[1]['messages']} messages, {seen[1].get('consumers')} consumers",
                flush=True,
            )
            return
        time.sleep(2)
    sys.exit(f"{url} reports no number of messages, so KEDA cannot scale: {str(seen)[:300]}")


round_trip()
statistics()
