"""Brings a batch of papers to a scholar: reads the Atom feed at FEED, as the arXiv API answers, and posts each entry to SCHOLAR_URL. A paper
that is there already is replaced by the same, so it may run as often as it likes."""

import json
import re
import sys
import urllib.error
import urllib.request
import xml.etree.ElementTree

from service import secret, setting

ATOM = "{http://www.w3.org/2005/Atom}"
# The scholar is a neighbour: no proxy is asked.
HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def papers(feed):
    """Those with a number like 2311.01234v2, which becomes 231101234: of two versions the later one stays."""
    for entry in xml.etree.ElementTree.fromstring(feed).iter(f"{ATOM}entry"):
        number = re.search(r"/(\d{4})\.(\d{4,5})(v\d+)?$", entry.findtext(f"{ATOM}id", ""))
        if number:
            text = {name: " ".join(entry.findtext(ATOM + name, "").split()) for name in ("title", "summary")}
            yield {"id": int(number[1] + number[2].zfill(5)), "title": text["title"], "abstract": text["summary"]}


def main():
    scholar = setting("SCHOLAR_URL")
    with urllib.request.urlopen(setting("FEED"), timeout=60) as feed:
        batch = list(papers(feed.read()))
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {secret('TOKEN')}"}
    for paper in batch:
        request = urllib.request.Request(f"{scholar}/papers", json.dumps(paper).encode(), headers)
        try:
            HTTP.open(request, timeout=60).close()
        except urllib.error.HTTPError as error:
            if error.code == 503:
                return print(f"not brought: {error.read().decode()}")
            sys.exit(f"paper {paper['id']} is refused with {error.code}: {error.read().decode()}")
    print(f"{len(batch)} papers brought to {scholar}")


main()
