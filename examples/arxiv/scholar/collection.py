"""A collection of papers in a ChromaDB, over its HTTP API. Each record has the id of its paper, the text that is searched as document, and
in its metadata the file as it was kept, so that a paper can be taken back from here."""

import hashlib
import json
import math
import re
import urllib.error
import urllib.request

DIMENSION = 32
PAGE = 1000
# ChromaDB is a neighbour: no proxy is asked.
HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def embed(text):
    """Words hashed to some directions of a small space, always the same: no model to download, and texts of equal words are nearest."""
    vector = [0.0] * DIMENSION
    for word in re.findall(r"\w+", text.lower()):
        for byte in hashlib.blake2b(word.encode(), digest_size=4).digest():
            vector[byte % DIMENSION] += 1.0 if byte & 128 else -1.0
    length = math.sqrt(sum(value * value for value in vector)) or 1.0
    return [value / length for value in vector]


class Collection:
    """The one of this name; made when there is none."""

    def __init__(self, url, name):
        self.url = url
        self.base = f"{url}/api/v2/tenants/default_tenant/databases/default_database/collections"
        try:
            self.id = self._ask(f"/{name}")["id"]
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            self.id = self._ask("", {"name": name, "get_or_create": True})["id"]

    def _ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"})
        with HTTP.open(request, timeout=20) as answer:
            return json.load(answer)

    def count(self):
        return self._ask(f"/{self.id}/count")

    def ids(self):
        found, page = set(), None
        while page is None or len(page) == PAGE:
            page = self._ask(f"/{self.id}/get", {"include": [], "limit": PAGE, "offset": len(found)})["ids"]
            found.update(int(number) for number in page)
        return found

    def upsert(self, files):
        """Adds papers, or replaces them: the text of each file by its id."""
        papers = [json.loads(text) for text in files.values()]
        documents = [f"{paper['title']}\n{paper.get('abstract', '')}".strip() for paper in papers]
        metadatas = [{"title": paper["title"], "file": text} for paper, text in zip(papers, files.values())]
        body = {"ids": [str(number) for number in files], "documents": documents, "metadatas": metadatas}
        self._ask(f"/{self.id}/upsert", body | {"embeddings": [embed(document) for document in documents]})

    def files(self, numbers):
        """The text of each paper's file, by its id."""
        body = {"ids": [str(number) for number in numbers], "include": ["metadatas"]}
        found = self._ask(f"/{self.id}/get", body)
        return {int(number): about["file"] for number, about in zip(found["ids"], found["metadatas"])}

    def nearest(self, text, number):
        body = {"query_embeddings": [embed(text)], "n_results": number, "include": ["metadatas", "distances"]}
        found = self._ask(f"/{self.id}/query", body)
        rows = zip(found["ids"][0], found["metadatas"][0], found["distances"][0])
        return [{"id": int(i), "title": about["title"], "distance": distance} for i, about, distance in rows]
