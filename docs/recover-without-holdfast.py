#!/usr/bin/env python3
"""Restores a point of a Holdfast repository without Holdfast: written from engine/FORMAT.md, with nothing of its code.

  pip install zstandard 'cryptography>=44'
  aws s3 sync s3://BUCKET/PREFIX ./repository            # a repository in a directory is used as it is
  HOLDFAST_PASSWORD=... ./recover-without-holdfast.py ./repository               lists the points
  HOLDFAST_PASSWORD=... ./recover-without-holdfast.py ./repository POINT TARGET  restores one into a new directory

The password may also stand in a file: --password-file FILE. Every block is authenticated. Whole files are held against their
hashes where the package `blake3` is installed; without it that is left out, and said.
"""
import argparse, hashlib, hmac, json, os, struct, sys
from pathlib import Path

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

try:
    import blake3
except ImportError:
    blake3 = None

PACK, INDEX, POINT = 1, 2, 3
MARKER = ".holdfast-restore-unfinished"


def fail(why):
    sys.exit(f"error: {why}")


def hchacha20(key, nonce):
    """The key of XChaCha20 for the first 16 bytes of its nonce."""
    x = list(struct.unpack("<16I", b"expand 32-byte k" + key + nonce))

    def quarter(a, b, c, d):
        for p, q, r, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            x[p] = (x[p] + x[q]) & 0xFFFFFFFF
            v = x[r] ^ x[p]
            x[r] = (v << turn | v >> (32 - turn)) & 0xFFFFFFFF

    for _ in range(10):
        for column in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)):
            quarter(*column)
        for diagonal in ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
            quarter(*diagonal)
    return struct.pack("<8I", *x[:4], *x[12:])


def xopen(key, nonce, sealed, associated):
    return ChaCha20Poly1305(hchacha20(key, nonce[:16])).decrypt(bytes(4) + nonce[16:], sealed, associated)


def hkdf(key, salt, info):
    return HKDF(hashes.SHA256(), 32, salt, info).derive(key)


class Repository:
    def __init__(self, root, password):
        self.root = Path(root)
        config = self.plain("config")
        if config.get("magic") != "holdfast repository":
            fail(f"{root} is not a Holdfast repository")
        if config["format"] > 1:
            fail(f"{root} has format {config['format']}, this program reads 1")
        self.id = bytes.fromhex(config["id"])
        master = self.open_slot(password, config["keyCheck"])
        self.blocks, self.objects = (self.key(master, purpose) for purpose in ("blocks", "objects"))
        self.index = self.read_index()

    def plain(self, name):
        line, checksum, _ = (self.root / name).read_text().split("\n")
        if checksum != "sha256:" + hashlib.sha256(line.encode()).hexdigest():
            fail(f"{name} is damaged: its checksum is wrong")
        return json.loads(line)

    def key(self, master, purpose):
        return hkdf(master, self.id, b"holdfast 1 " + purpose.encode())

    def context(self, label, name):
        return b"holdfast 1\0" + self.id + label + b"\0" + name

    def open_slot(self, password, check):
        for path in sorted((self.root / "keys").iterdir()):
            slot = self.plain(f"keys/{path.name}")
            kdf, salt = slot["kdf"], bytes.fromhex(slot["salt"])
            if kdf["name"] == "argon2id":
                derived = Argon2id(salt=salt, length=32, iterations=kdf["passes"], lanes=kdf["lanes"], memory_cost=kdf["memoryKib"])
                wrapping = derived.derive(password)
            elif password.startswith(b"hfkey1-"):
                wrapping = hkdf(bytes.fromhex(password[7:].decode()), salt, b"holdfast 1 slot")
            else:
                continue
            try:
                wrapped = bytes.fromhex(slot["wrapped"])
                master = xopen(wrapping, bytes.fromhex(slot["nonce"]), wrapped, self.context(b"slot", path.name.encode()))
            except InvalidTag:
                continue
            if hmac.compare_digest(self.key(master, "check")[:16].hex(), check):
                return master
        fail("the password opens no key slot of this repository")

    def unseal(self, key, label, name, sealed, dictionary=None):
        packed = xopen(key, sealed[:24], sealed[24:], self.context(label, name))
        prefix = dictionary and zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        return packed[1:] if packed[0] == 0 else zstandard.ZstdDecompressor(dict_data=prefix).decompress(packed[1:])

    def object(self, kind, label, name):
        data = (self.root / name).read_bytes()
        if data[:5] != b"HFAST" or data[6] != kind:
            fail(f"{name} is damaged: its head is wrong")
        if data[5] > 1:
            fail(f"{name} has format {data[5]}, this program reads 1")
        try:
            return self.unseal(self.objects, label, name.encode(), data[8:])
        except InvalidTag:
            fail(f"{name} is damaged: it fails authentication")

    def read_index(self):
        """Block id -> where it lies; of several places the first that is whole."""
        index = {}
        for path in sorted((self.root / "index").iterdir()):
            body, at = self.object(INDEX, b"index", f"index/{path.name}"), 0
            while at < len(body):
                pack, size, count = struct.unpack_from(">16sII", body, at)
                at += 24
                place = self.root / "packs" / pack[:1].hex() / pack.hex()
                whole = place.is_file() and place.stat().st_size == size
                for _ in range(count):
                    kind, block, offset, stored, raw = struct.unpack_from(">B32sIII", body, at)
                    at += 45
                    if whole:
                        index.setdefault(block, (kind, place, offset, stored, raw))
        return index

    def block(self, block, dictionary=None):
        if block not in self.index:
            fail(f"block {block.hex()} is missing")
        kind, place, offset, stored, raw = self.index[block]
        with place.open("rb") as pack:
            pack.seek(offset)
            sealed = pack.read(stored)
        try:
            plain = self.unseal(self.blocks, (b"data", b"meta", b"patch")[kind], block, sealed, dictionary)
        except InvalidTag:
            fail(f"{place.name} is damaged: block {block.hex()} fails authentication")
        if len(plain) != raw:
            fail(f"{place.name} is damaged: block {block.hex()} has another length")
        return plain

    def points(self):
        for path in sorted((self.root / "points").iterdir()):
            yield path.name, json.loads(self.object(POINT, b"point", f"points/{path.name}"))

    def entries(self, point):
        for segment in point["tree"]:
            for line in self.block(bytes.fromhex(segment)).splitlines():
                yield json.loads(line)

    def content(self, entry):
        """The bytes of a file, piece by piece."""
        (kind, content), = entry["content"].items()
        if kind == "blocks":
            for extent in content:
                yield self.block(bytes.fromhex(extent["id"]))
        elif kind == "map":
            for segment in content:
                extents = self.block(bytes.fromhex(segment))
                for at in range(0, len(extents), 36):
                    yield self.block(extents[at : at + 32])
        else:
            yield from self.records(content, entry["size"])

    def records(self, content, size):
        """A file of records, a segment at a time."""
        maps = [bytes.fromhex(id) for id in content.get("maps", [])]
        for root in content.get("roots", []):
            ids = self.block(bytes.fromhex(root))
            maps += [ids[at : at + 32] for at in range(0, len(ids), 32)]
        columns, stride = content["columns"], sum(column["width"] for column in content["columns"])
        slot = columns[0]["width"] * columns[0]["values"]
        dictionaries = {bytes.fromhex(r["id"]): self.dictionary(bytes.fromhex(r["id"]), slot) for r in content.get("references", [])}
        for number, head in enumerate(maps):
            length = min(content["records"] * stride, size - number * content["records"] * stride)
            yield self.segment(self.units(head), columns, content["records"], length, dictionaries)

    def dictionary(self, reference, slot):
        """What patches were compressed against."""
        body = self.block(reference)
        frames, at = read_ids(body, 0, 1)
        (count,) = struct.unpack_from(">H", body, at)
        fields = struct.unpack_from(f">{3 * count}H", body, at + 2)
        plain = [self.block(frame) for (frame,) in frames]
        stretches = zip(*(fields[n * count : (n + 1) * count] for n in range(3)))
        return b"".join(plain[of][position * slot : (position + many) * slot] for of, position, many in stretches)

    def units(self, head):
        """Unit number -> where its last whole version is, and what it is made of: places, each a frame, or a patch and its
        reference, and a position. Applies a chain of maps, the complete one first."""
        chain = [read_map(self.block(head))]
        while chain[-1][0]:
            chain.append(read_map(self.block(chain[-1][0])))
        units = {}
        for _, fulls, deltas, patched in reversed(chain):
            for unit, place in fulls:
                units[unit] = place, [place]
            for unit, place in deltas:
                units[unit] = units[unit][0], [units[unit][0], place]
            for unit, place in patched:
                units[unit] = units.get(unit, (None,))[0], [place]
        return {unit: places for unit, (_, places) in units.items()}

    def segment(self, units, columns, records, length, dictionaries):
        stride = sum(column["width"] for column in columns)
        here, tail, first, out, inside, frames = length // stride, length % stride, 0, bytearray(length), 0, {}
        for column in columns + [{"width": tail, "values": 1, "planes": 1}]:
            width, slot, end = column["width"], column["width"] * column["values"], inside == stride
            values, data = int(tail > 0) if end else here, bytearray()
            for number in range(-(-values // column["values"])):
                unit = bytes(min(slot, values * width - number * slot))
                for frame, position in units[first + number]:
                    if frame not in frames:
                        patch, *reference = frame
                        frames[frame] = unsort(self.block(patch, *(dictionaries[r] for r in reference)), column["planes"])
                    at = position * slot
                    part = frames[frame][at : at + len(unit)].ljust(len(unit), b"\0")
                    unit = (int.from_bytes(unit, "big") ^ int.from_bytes(part, "big")).to_bytes(len(unit), "big")
                data += unit
            if end:
                out[here * stride :] = data
            else:
                for byte in range(width):
                    out[inside + byte : here * stride : stride] = data[byte::width]
                first, inside = first - (-records // column["values"]), inside + width
        return out


def read_ids(body, at, many):
    """A count and so many tuples of ids, and where they end."""
    (count,) = struct.unpack_from(">H", body, at)
    ids = [body[n : n + 32] for n in range(at + 2, at + 2 + 32 * many * count, 32)]
    return [tuple(ids[n : n + many]) for n in range(0, len(ids), many)], at + 2 + 32 * many * count


def read_map(body):
    """A map: the id of the one before or None, and the places of whole units, of differences and of patched units."""
    previous, at = (body[1:33], 33) if body[0] else (None, 1)
    frames, at = read_ids(body, at, 1)
    patches, at = read_ids(body, at, 2)
    lists = []
    for holders in (frames, frames, patches):
        (count,) = struct.unpack_from(">H", body, at)
        fields = struct.unpack_from(f">{4 * count}H", body, at + 2)
        at += 2 + 8 * count
        pieces = zip(*(fields[n * count : (n + 1) * count] for n in range(4)))
        lists.append([(unit + n, (holders[of], position + n)) for unit, many, of, position in pieces for n in range(many)])
    return previous, *lists


def unsort(frame, planes):
    if planes <= 1 or len(frame) % planes:
        return frame
    out, part = bytearray(len(frame)), len(frame) // planes
    for plane in range(planes):
        out[plane::planes] = frame[plane * part : (plane + 1) * part]
    return bytes(out)


def name(text):
    """Bytes of a path, of a name or of a value."""
    return text.encode() if isinstance(text, str) else bytes.fromhex(text["hex"])


def dress(path, entry):
    """Attributes of an entry; returns how many extended ones can't be set here."""
    left, link = 0, entry["type"] == "symlink"
    if os.geteuid() == 0:
        os.lchown(path, entry["uid"], entry["gid"])
    for key, value in entry.get("xattrs", []):
        try:
            os.setxattr(path, name(key), name(value), follow_symlinks=False)
        except OSError as e:
            left += 1
            print(f"warning: {name(key)!r} of {path!r} can't be set: {e.strerror}", file=sys.stderr)
    if not link:
        os.chmod(path, entry["mode"])
    seconds, nanos = entry["mtime"]
    os.utime(path, ns=(seconds * 10**9 + nanos,) * 2, follow_symlinks=False)
    return left


def restore(repository, point, target):
    target.mkdir()
    (target / MARKER).touch()
    dressed, files, unchecked, made = [], 0, 0, {b".": "directory", b"": "directory"}
    for entry in repository.entries(point):
        within = name(entry["path"])
        if entry["path"] != "." and any(part in (b"", b".", b"..") for part in within.split(b"/")):
            fail(f"the path {entry['path']} leads out of the target")
        if entry["path"] != "." and (within in made or made.get(os.path.dirname(within)) != "directory"):
            fail(f"the path {entry['path']} is in no directory of the point, or comes twice")
        made[within] = entry["type"]
        path = os.path.join(os.fsencode(target), within)
        if entry["type"] == "directory":
            os.makedirs(path, exist_ok=True)
        elif entry["type"] == "symlink":
            os.symlink(name(entry["to"]), path)
        elif entry["type"] == "link":
            if made.get(name(entry["to"])) != "file":
                fail(f"{entry['path']} is a further name of {entry['to']}, which is no file before it")
            os.link(os.path.join(os.fsencode(target), name(entry["to"])), path)
            continue
        else:
            hasher, size = blake3.blake3() if blake3 else None, 0
            with open(path, "xb") as out:
                for piece in repository.content(entry):
                    out.write(piece)
                    size += len(piece)
                    hasher and hasher.update(piece)
            if size != entry["size"] or (hasher and hasher.hexdigest() != entry["hash"]):
                fail(f"{entry['path']} does not have the bytes that were captured: don't use it")
            files, unchecked = files + 1, unchecked + (hasher is None)
        dressed.append((path, entry))
    (target / MARKER).unlink()
    left = sum(dress(path, entry) for path, entry in reversed(dressed))
    note = f"; {unchecked} not held against their hashes, because the package blake3 is missing" if unchecked else ""
    note += f"; {left} extended attributes left out" if left else ""
    print(f"{files} files in {target}{note}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository")
    parser.add_argument("point", nargs="?")
    parser.add_argument("target", nargs="?", type=Path)
    parser.add_argument("--password-file", type=Path)
    args = parser.parse_args()
    password = args.password_file.read_bytes() if args.password_file else os.environb.get(b"HOLDFAST_PASSWORD", b"")
    # Exactly one trailing newline is no part of it.
    repository = Repository(args.repository, password[:-1] if password.endswith(b"\n") else password)
    points = dict(repository.points())
    if args.point is None or args.target is None:
        for id, point in sorted(points.items(), key=lambda item: item[1]["consistencyTime"]):
            print(id, point["component"], point["consistencyTime"], point["totals"]["bytes"])
    elif args.point not in points:
        fail(f"there is no point {args.point}")
    else:
        restore(repository, points[args.point], args.target)


if __name__ == "__main__":
    main()
