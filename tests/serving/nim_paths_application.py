"""The paths of vLLM that NimPaths asks for, with NimPaths; /switch/N makes /health answer N, as a dead engine does."""

from fastapi import FastAPI, Response

from adapter_build.serving.nim_paths import NimPaths

app = FastAPI()
state = {"health": 503}


@app.get("/health")
def health():
    return Response(status_code=state["health"])


@app.get("/switch/{status}")
def switch(status: int):
    state["health"] = status


@app.get("/v1/models")
def models():
    return {"data": [{"id": "base"}, {"id": "law"}]}


@app.get("/metrics")
def metrics():
    return Response("requests_total 1.0", media_type="text/plain")


@app.post("/v1/completions")
def complete(body: dict):
    return {"echo": body["prompt"]}


app.add_middleware(NimPaths)
