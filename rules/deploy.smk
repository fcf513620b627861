# Deploy: a server really serves every staged adapter beside its base, or there is no sentinel.


# The embedded engine runs in the environment `serve`. NIM is a container, which the check starts from outside of any.
SERVER = "workflow" if NIM else "serve"
ON_ENGINE = {"loopback": True, **({"on_host": True, "secrets": ["NGC_API_KEY"]} if NIM else {})}
ASKED = {
    "nim": NIM.text() if NIM else None,
    "engine": config["deploy"]["engine"],
    "base": config["base"]["name"],
    "port": config["deploy"]["port"],
    "timeout": config["deploy"]["timeout"],
    "context_length": config["deploy"]["embedded"]["context_length"],
    "max_new_tokens": config["evaluate"]["max_new_tokens"],
    "differing_answers": config["deploy"]["differing_answers"],
}


rule check_deployment:
    """Start the engine, ask base and adapters, write the sentinel, stop the engine."""
    input:
        local(venv_marker(SERVER) if NIM else venv(SERVER)),
        description=local("schemas/openapi.json"),
        files=BASE.files,
        staged=expand(STAGED, adapter=config["adapters"]),
        predictions=expand("results/evaluation/{adapter}.predictions.jsonl", adapter=config["adapters"]),
    output:
        ready="results/deploy/ready.json",
    log:
        "logs/check_deployment.log",
    benchmark:
        "benchmarks/check_deployment.tsv"
    threads: config["threads"]
    resources:
        **raised_by_retry(mem_mb=4000, runtime=30 + config["deploy"]["timeout"] // 60),
    params:
        **step(SERVER, "check_deployment.py", ASKED, THREADS, always=True, **THREADS, **ON_ENGINE),
    shell:
        STEP


rule server:
    """The environments in which `make serve` runs the engine."""
    input:
        venv_marker(SERVER),
    localrule: True
