"""Press autofocus over ZeroMQ, with nothing of afdaemon's but its address.

python zmq_button.py /run/afdaemon
"""

import json
import sys
import uuid

import zmq

folder = sys.argv[1]
context = zmq.Context()
events = context.socket(zmq.SUB)
job = str(uuid.uuid4())
for topic in (f"job.{job}", f"welcome.{job}"):
    events.subscribe(topic)
events.connect(f"ipc://{folder}/events.sock")
control = context.socket(zmq.DEALER)
control.connect(f"ipc://{folder}/control.sock")

while json.loads(events.recv_multipart()[1])["type"] != "welcome":
    pass  # from here on, no event of the job is missed
control.send_json({"jsonrpc": "2.0", "id": job, "method": "autofocus.start", "params": {}})
answer = control.recv_json()
if "error" in answer:
    sys.exit(answer["error"]["message"])
while True:
    event = json.loads(events.recv_multipart()[1])
    if event["type"] == "result":
        break
    print(event["data"]["phase"], event["data"]["wd_um"], event["data"]["score"])
print("converged" if event["data"]["converged"] else event["data"]["reason"])
context.destroy(linger=0)
