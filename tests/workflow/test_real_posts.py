"""The same rules on real posts, as the README has it."""

import collections
import html.parser
import json
import lzma
import random
import re

import pyarrow.parquet
import pytest
from conftest import SLICE, needs_slice

from adapter_build.audit.training_records import why

OVERLAY = ("--configfile", "configs/law-stackexchange.yaml")
PROMPTS = [f"results/prompts/law-titlegen/{split}.jsonl" for split in ("train", "val", "test")]
# Marks within a line.
INLINE = {"a", "abbr", "b", "cite", "code", "del", "em", "i", "kbd", "s", "small", "span", "strike", "strong", "sub",
          "sup", "u"}  # fmt: skip


@pytest.fixture(scope="module")
def ledger(sliced):
    return pyarrow.parquet.read_table(sliced.folder / "results/curated/ledger.parquet").to_pylist()


@pytest.mark.slow
@needs_slice
def test_data_half_on_the_slice(sliced, ledger):
    assert len(ledger) == 4000
    kept = collections.Counter(row["split"] for row in ledger if row["outcome"] == "kept")
    for path in PROMPTS:
        rows = [json.loads(line) for line in (sliced.folder / path).read_text().splitlines()]
        assert len(rows) == kept[path.split("/")[-1].removesuffix(".jsonl")]
        assert all(row["input"].endswith("TITLE:") for row in rows)


class Words(html.parser.HTMLParser):
    """The words of a post, counted from its HTML by the standard library alone: a tag that is not of INLINE
    ends a word."""

    def __init__(self, source):
        super().__init__()
        self.text = ""
        self.feed(source)
        self.close()
        self.count = len(re.findall(r"\S+", self.text))

    def handle_data(self, data):
        self.text += data

    def handle_starttag(self, tag, _attributes):
        self.text += "" if tag in INLINE else " "

    def handle_endtag(self, tag):
        self.handle_starttag(tag, ())


@pytest.mark.slow
@needs_slice
def test_why_tells_of_real_posts_what_their_html_says(sliced, ledger):
    """Ten dropped and ten kept ids, drawn by a seed, against the posts themselves."""
    posts = {str(post["question_id"]): post for post in json.loads(lzma.decompress(SLICE.read_bytes()))}
    draw = random.Random(5)
    for outcome in ("dropped", "kept"):
        known = [row["record_id"] for row in ledger if row["outcome"] == outcome]
        for record in draw.sample(known, 10):
            said = why(sliced.folder / "results", record)
            post = posts[record]
            # The slice's scores are unknown, so the first answer is the best.
            counts = {"question": Words(post["question_body"]).count}
            counts["answer"] = Words(post["answers"][0]["body"]).count if post["answers"] else 0
            failing = [field for field, count in counts.items() if not 50 <= count <= 500]
            if outcome == "kept":
                split = re.search(r": kept, in the split (\w+)$", said)[1]
                assert split != "train" or not failing, (said, counts)
            elif "has_answer" in said:
                assert post["answers"] == [], said
            else:
                field, count = re.search(r"filter word_count: (\w+) was (\d+), 50\.\.500 was asked for", said).groups()
                assert (field, int(count)) == (failing[0], counts[failing[0]]), said
                assert "dropped from the split train" in said


def test_unpinned_dataset_says_what_to_type(checkout):
    assert "acquire_raw" in checkout.pending(*OVERLAY, "--", *PROMPTS)
    done = checkout.snakemake("--quiet", "all", *OVERLAY, "--", "results/raw/records.jsonl", tiny=False)
    assert done.returncode != 0
    assert "run: make pin" in done.stderr
    assert not (checkout.folder / "results/raw/records.jsonl").exists()
