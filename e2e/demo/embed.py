#!/usr/bin/env python3
"""Writes real documents with real embeddings, one JSON object a line: id, collection, document, metadata, embedding.

The documents are the docstrings of Python's own standard library; the embeddings are those of all-MiniLM-L6-v2, computed here
by a plain forward pass in numpy from the model's published weights. Nothing is random and nothing is fetched: the same Python and
the same weights give the same file.

    embed.py --model DIRECTORY --limit NUMBER OUTPUT

DIRECTORY holds model.safetensors and tokenizer.json. numpy and tokenizers are wanted on PYTHONPATH.
"""

import argparse
import ast
import json
import os
import struct
import sys
import sysconfig
import time

import numpy as np
from tokenizers import Tokenizer

LAYERS, HEADS, WIDTH, TOKENS = 6, 12, 384, 64

# Which shelf a module stands on; what is named nowhere is left out.
SHELVES = {
    "network": "asyncio email ftplib html http imaplib ipaddress mailbox poplib selectors smtplib socket socketserver ssl telnetlib urllib wsgiref xml xmlrpc",
    "data": "array base64 bisect calendar codecs collections configparser copy csv dataclasses datetime decimal difflib enum fractions gzip hashlib heapq json locale lzma pickle plistlib pprint random shelve sqlite3 statistics string struct tarfile textwrap uuid weakref zipfile zoneinfo",
    "language": "abc argparse ast bdb cmd code concurrent contextlib ctypes dis doctest fileinput functools getopt glob importlib inspect io logging multiprocessing os pathlib pdb pkgutil platform queue re runpy sched shlex shutil signal site subprocess symtable sys tempfile threading timeit tokenize traceback types typing unittest venv warnings",
}


def docstrings(limit):
    """The first sentences of every documented class and function, module by module in the order of their names."""
    library = sysconfig.get_paths()["stdlib"]
    shelf_of = {module: shelf for shelf, modules in SHELVES.items() for module in modules.split()}
    seen, found = set(), {shelf: [] for shelf in SHELVES}
    for folder, folders, files in os.walk(library):
        folders[:] = sorted(f for f in folders if f not in ("test", "tests", "site-packages", "dist-packages", "__pycache__"))
        for name in sorted(f for f in files if f.endswith(".py")):
            path = os.path.join(folder, name)
            module = os.path.relpath(path, library)[: -len(".py")].replace(os.sep, ".").removesuffix(".__init__")
            shelf = shelf_of.get(module.split(".")[0])
            if shelf is None:
                continue
            try:
                with open(path, encoding="utf-8") as source:
                    tree = ast.parse(source.read())
            except (OSError, SyntaxError, UnicodeDecodeError):
                continue
            for node in ast.walk(tree):
                if not isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef, ast.Module)):
                    continue
                text = ast.get_docstring(node)
                if not text or len(text) < 80 or text in seen:
                    continue
                seen.add(text)
                found[shelf].append(
                    {
                        "id": f"{module}:{getattr(node, 'lineno', 1)}",
                        "collection": f"python-{shelf}",
                        "document": text[:2000],
                        "metadata": {
                            "module": module,
                            "name": getattr(node, "name", module),
                            "line": getattr(node, "lineno", 1),
                            "words": len(text.split()),
                            "public": not getattr(node, "name", module).startswith("_"),
                        },
                    }
                )
    # As many from each shelf, as far as they go, spread over its whole length.
    each = limit // len(found)
    documents = []
    for shelf in found.values():
        step = max(1, len(shelf) // each)
        documents += shelf[::step][:each]
    return documents


def weights(path):
    """The tensors of a safetensors file: a JSON header, then the bytes."""
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        start = file.tell()
        tensors = {}
        for name, entry in header.items():
            if name == "__metadata__" or entry["dtype"] != "F32":
                continue
            begin, end = entry["data_offsets"]
            file.seek(start + begin)
            tensors[name] = np.frombuffer(file.read(end - begin), dtype="<f4").reshape(entry["shape"])
    return tensors


def normed(x, tensors, name):
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-12) * tensors[name + ".weight"] + tensors[name + ".bias"]


def linear(x, tensors, name):
    return x @ tensors[name + ".weight"].T + tensors[name + ".bias"]


def gelu(x):
    # The error function by Abramowitz and Stegun 7.1.26: numpy has none, and its error of 1.5e-7 is below that of float32.
    z = np.abs(x) / np.float32(np.sqrt(2))
    t = 1 / (1 + np.float32(0.3275911) * z)
    poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return (0.5 * x * (1 + np.sign(x) * (1 - poly * np.exp(-z * z)))).astype(np.float32)


def embed(ids, mask, tensors):
    """Mean of the last layer over a text's tokens, of length one."""
    batch, length = ids.shape
    x = tensors["embeddings.word_embeddings.weight"][ids] + tensors["embeddings.position_embeddings.weight"][:length]
    x = normed(x + tensors["embeddings.token_type_embeddings.weight"][0], tensors, "embeddings.LayerNorm")
    ignore = np.where(mask[:, None, None, :] == 1, np.float32(0), np.float32(-1e9))
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}."
        q, k, v = (
            linear(x, tensors, at + f"attention.self.{part}").reshape(batch, length, HEADS, WIDTH // HEADS).transpose(0, 2, 1, 3)
            for part in ("query", "key", "value")
        )
        scores = q @ k.transpose(0, 1, 3, 2) / np.float32(np.sqrt(WIDTH // HEADS)) + ignore
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (scores / scores.sum(-1, keepdims=True) @ v).transpose(0, 2, 1, 3).reshape(batch, length, WIDTH)
        x = normed(x + linear(mixed, tensors, at + "attention.output.dense"), tensors, at + "attention.output.LayerNorm")
        inner = gelu(linear(x, tensors, at + "intermediate.dense"))
        x = normed(x + linear(inner, tensors, at + "output.dense"), tensors, at + "output.LayerNorm")
    weight = mask[:, :, None].astype(np.float32)
    mean = (x * weight).sum(1) / weight.sum(1)
    return (mean / np.linalg.norm(mean, axis=1, keepdims=True)).astype(np.float32)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--limit", type=int, default=1500)
    parser.add_argument("output")
    arguments = parser.parse_args()

    documents = docstrings(arguments.limit)
    tensors = weights(os.path.join(arguments.model, "model.safetensors"))
    tokenizer = Tokenizer.from_file(os.path.join(arguments.model, "tokenizer.json"))
    tokenizer.enable_truncation(TOKENS)
    tokenizer.no_padding()
    encoded = [tokenizer.encode(document["document"]).ids for document in documents]
    # Texts of like length go together, so that little is spent on padding.
    order = sorted(range(len(documents)), key=lambda i: len(encoded[i]))
    said = time.monotonic()
    for begin in range(0, len(order), 32):
        chosen = order[begin : begin + 32]
        length = max(len(encoded[i]) for i in chosen)
        ids = np.zeros((len(chosen), length), dtype=np.int64)
        mask = np.zeros((len(chosen), length), dtype=np.int64)
        for row, i in enumerate(chosen):
            ids[row, : len(encoded[i])] = encoded[i]
            mask[row, : len(encoded[i])] = 1
        for i, vector in zip(chosen, embed(ids, mask, tensors)):
            documents[i]["embedding"] = [float(value) for value in vector]
        if time.monotonic() - said > 5:
            said = time.monotonic()
            print(f"  embedded {begin + len(chosen)} of {len(documents)} documents", file=sys.stderr, flush=True)

    partial = f"{arguments.output}.{os.getpid()}"
    with open(partial, "w", encoding="utf-8") as out:
        for document in documents:
            out.write(json.dumps(document, ensure_ascii=True, separators=(",", ":")) + "\n")
    os.replace(partial, arguments.output)


if __name__ == "__main__":
    main()
