"""The table and the plots, from what was measured."""

import json
import os
import shutil
import statistics
import subprocess

from .cells import CELLS

LABEL = {"testpmd": "testpmd io", "ovs": "OVS-DPDK", "ofswitch": "ofswitch", "avx2": "ofswitch, AVX2", "scalar": "ofswitch, scalar"}


def med(v):
    return statistics.median(v) if v else None


def spread(v):
    """Half the range, in per cent of the median."""
    return 100 * (max(v) - min(v)) / 2 / med(v) if v and med(v) else 0


def net(got, who):
    """Cycles per packet above the floor."""
    w = got["windows"]
    if who not in w or "testpmd" not in w or not med(w[who]):
        return None
    return got["hz"] / med(w[who]) - got["hz"] / med(w["testpmd"])


def ratio(got):
    w = got["windows"]
    return med(w["ofswitch"]) / med(w["ovs"]) if w.get("ofswitch") and w.get("ovs") and med(w["ovs"]) else None


def hits(share):
    return ", ".join(f"{k} {100 * v:.1f} %" for k, v in share.items() if v >= 0.0005) or "-"


def lines(cell, got):
    """What to say on the terminal."""
    yield f"{cell.name} (goal: {cell.goal})"
    for w, v in got["windows"].items():
        head = f"  {LABEL.get(w, w):18}"
        if cell.kind == "kept":
            x = got["extra"]
            yield f"{head} keeps {100 * med(v):5.1f} % of {med(x['alone'][w]) / 1e6:.2f} Mpps; {med(x['taken'][w]):,.0f} packets/s taken from the other port; {x['masks'].get(w, '-')} masks"
        elif cell.kind == "latency":
            x = got["extra"]["lists"][w]
            yield (f"{head} {got['extra']['megaflows'][w]} megaflows: effective {med(v):.3f} ms (worst {max(v):.3f}), barrier {med(x['barrier_ms']):.3f} ms (worst {max(x['barrier_ms']):.3f}), "
                   f"longest pause {max(x['stall_ms']):.2f} ms (without flow-mods {max(x['quiet_stall_ms']):.2f}), {max(x['late_packets'])} packets by old rules after the barrier")
        else:
            n = net(got, w)
            yield (f"{head} {med(v) / 1e6:7.2f} Mpps (+-{spread(v):.0f} %) {got['hz'] / med(v) if med(v) else 0:7.0f} cycles"
                   + (f", net {n:.0f}" if n is not None and w != "testpmd" else "") + (f"; {hits(got['hits'][w])}" if w in got["hits"] else "")
                   + (f"; {got['settings'][w]}" if w in got["settings"] else ""))
    if cell.kind == "rate" and ratio(got):
        yield f"  ratio {ratio(got):.2f}"


def met(cell, got, data):
    """Whether the goal is met: a word, and for a goal of two parts a word each; '' where it cannot be said."""
    w = got["windows"]
    word = lambda ok: "yes" if ok else "no"  # noqa: E731
    if cell.kind == "kept":
        return word(w.get("ofswitch") and med(w["ofswitch"]) >= 0.9)
    if cell.kind == "latency":
        x = got["extra"]["lists"].get("ofswitch")
        return word(med(x["effective_ms"]) < 1 and med(x["stall_ms"]) < 1) if x else ""
    if ratio(got) is None:
        return ""
    parts = [("ratio", ratio(got) >= cell.least)]
    if cell.net_most and net(got, "ofswitch") is not None:
        parts.append((f"net {net(got, 'ofswitch'):.0f}", net(got, "ofswitch") <= cell.net_most))
    if cell.of_testpmd and w.get("testpmd"):
        share = med(w["ofswitch"]) / med(w["testpmd"])
        parts.append((f"{100 * share:.0f} % of testpmd", share >= cell.of_testpmd))
    if cell.of_1k and "1k" in data["cells"]:
        share = med(w["ofswitch"]) / med(data["cells"]["1k"]["windows"]["ofswitch"])
        parts.append((f"{share:.2f} of 1k", share >= cell.of_1k))
    return word(parts[0][1]) if len(parts) == 1 else "; ".join(f"{name}: {word(ok)}" for name, ok in parts)


def mpps(got, w):
    v = got["windows"].get(w)
    return f"{med(v) / 1e6:.2f} ±{spread(v):.0f} %" if v else "-"


def table(data):
    out = ["| cell | testpmd `io` Mpps | OVS-DPDK Mpps | ofswitch Mpps | ratio | goal | met | net cycles OVS-DPDK | net cycles ofswitch |", "|---|---|---|---|---|---|---|---|---|"]
    for c in CELLS:
        got = data["cells"].get(c.key)
        if not got or c.kind != "rate":
            continue
        r, no, nw = ratio(got), net(got, "ovs"), net(got, "ofswitch")
        f = lambda x, s: s.format(x) if x is not None else "-"  # noqa: E731
        out.append(f"| {c.name} | {mpps(got, 'testpmd')} | {mpps(got, 'ovs')} | {mpps(got, 'ofswitch')} | {f(r, '{:.2f}')} | {c.goal} | {met(c, got, data)} | {f(no, '{:.0f}')} | {f(nw, '{:.0f}')} |")
    return "\n".join(out)


def kept_table(data):
    out = ["| cell | | kept (worst window) | alone Mpps | taken from the other port /s | masks |", "|---|---|---|---|---|---|"]
    for c in CELLS:
        got = data["cells"].get(c.key)
        if got and c.kind == "kept":
            x = got["extra"]
            for w, v in got["windows"].items():
                out.append(f"| {c.name} | {LABEL[w]} | {100 * med(v):.1f} % ({100 * min(v):.1f} %) | {med(x['alone'][w]) / 1e6:.2f} | {med(x['taken'][w]):,.0f} | {x['masks'].get(w, '-')} |")
    return "\n".join(out) if len(out) > 2 else ""


def latency_table(data):
    got = data["cells"].get("mod")
    if not got:
        return ""
    out = ["| | megaflows | effective after, ms (median, worst) | barrier reply after, ms | longest pause of other traffic, ms (median, worst) | the same without flow-mods | packets by the old rules after the barrier reply |",
           "|---|---|---|---|---|---|---|"]
    for w, x in got["extra"]["lists"].items():
        two = lambda k: f"{med(x[k]):.3f}, {max(x[k]):.3f}"  # noqa: E731
        out.append(f"| {LABEL[w]} | {got['extra']['megaflows'][w]:,} | {two('effective_ms')} | {two('barrier_ms')} | {two('stall_ms')} | {two('quiet_stall_ms')} | {max(x['late_packets'])} |")
    return "\n".join(out)


def isa_table(data):
    out = ["| cell | AVX-512 Mpps | AVX2 | scalar |", "|---|---|---|---|"]
    for c in CELLS:
        got = data["cells"].get(c.key)
        if got and "avx2" in got["windows"] and got["windows"].get("ofswitch"):
            best = med(got["windows"]["ofswitch"])
            out.append(f"| {c.name} | {best / 1e6:.2f} | " + " | ".join(f"{100 * med(got['windows'][k]) / best:.0f} %" for k in ("avx2", "scalar")) + " |")
    return "\n".join(out) if len(out) > 2 else ""


AS_SHIPPED = "emc-insert-inv-prob=100"


def hit_table(data):
    out = ["| cell | OVS-DPDK | its settings | OVS-DPDK as shipped, Mpps | ofswitch |", "|---|---|---|---|---|"]
    for c in CELLS:
        got = data["cells"].get(c.key)
        if got and c.kind == "rate" and got["hits"]:
            shipped = got["extra"].get("tried", {}).get(AS_SHIPPED)
            out.append(f"| {c.name} | {hits(got['hits'].get('ovs', {}))} | {got['settings'].get('ovs', 'as they come')} | {f'{shipped / 1e6:.2f}' if shipped else '-'} "
                       f"| {hits(got['hits'].get('ofswitch', {}))} |")
    return "\n".join(out)


def checks(data):
    out = ["| cell | OVS-DPDK | ofswitch |", "|---|---|---|"]
    for c in CELLS:
        got = data["cells"].get(c.key)
        if got and got["checked"]:
            out.append(f"| {c.name} | {got['checked'].get('ovs', '-')} | {got['checked'].get('ofswitch', '-')} |")
    return "\n".join(out)


def short(c):
    return c.name.replace(", net_pcap to net_null", "").replace(", L3+L4 rule", "").replace(", port forward", "").replace("TTL and MAC rewrite, ", "").split(", VLAN")[0].split(" (")[0]


PLOT = """
set terminal {term} size {size} {font}
set style data histogram
set style histogram clustered gap 1
set style fill solid 0.9 noborder
set boxwidth 0.9
set grid ytics lc rgb '#dddddd'
set xtics rotate by -35 left nomirror
set border 3
set key outside top center horizontal
set rmargin 16
set ytics nomirror
"""


def plots(data, where, term="svg"):
    """Two pictures by gnuplot; nothing without it."""
    if not shutil.which("gnuplot"):
        return False
    cells = [(c, data["cells"][c.key]) for c in CELLS if c.key in data["cells"] and c.kind == "rate" and ratio(data["cells"][c.key])]
    if not cells:
        return False
    rows = "\n".join('"{}" {} {} {} {} {} {}'.format(short(c) + (", pcap" if c.stock else ""), *(f"{med(g['windows'].get(w)) / 1e6:.3f}" if g["windows"].get(w) else 0 for w in ("testpmd", "ovs", "ofswitch")),
                                                    f"{ratio(g):.3f}", c.least or "NaN", 0) for c, g in cells)
    nets = "\n".join('"{}" {:.1f} {:.1f}'.format(short(c) + (", pcap" if c.stock else ""), net(g, "ovs"), net(g, "ofswitch")) for c, g in cells if net(g, "ovs") is not None and c.key != "new")
    font = "font 'Sans,11' noenhanced" if term == "svg" else "font 'Sans,10' noenhanced"
    head = PLOT.format(term=term, size="1100,560", font=font)
    script = (f"$d << EOD\n{rows}\nEOD\n$n << EOD\n{nets}\nEOD\n{head}"
              f"set output '{where}/packet-path-rates.{term}'\nset ylabel 'million packets a second, one core'\nset title 'Packet rate, 64-byte frames'\n"
              "plot $d using 2:xtic(1) title 'testpmd io (the floor)' lc rgb '#bbbbbb', '' using 3 title 'OVS-DPDK' lc rgb '#d08040', '' using 4 title 'ofswitch' lc rgb '#3070b0'\n"
              f"set output '{where}/packet-path-net.{term}'\nset ylabel 'cycles a packet above testpmd io'\nset title 'What switching costs'\n"
              "plot $n using 2:xtic(1) title 'OVS-DPDK' lc rgb '#d08040', '' using 3 title 'ofswitch' lc rgb '#3070b0'\n"
              f"set output '{where}/packet-path-ratio.{term}'\nset ylabel 'packets a second, OVS-DPDK = 1'\nset title 'Beside OVS-DPDK (logarithmic)'\nset logscale y 2\nset yrange [0.5:*]\n"
              "plot $d using 5:xtic(1) title 'ofswitch' lc rgb '#3070b0', '' using 6 title 'goal' lc rgb '#88bb88', 1 with lines lc rgb '#d08040' title 'OVS-DPDK'\n")
    subprocess.run(["gnuplot"], input=script, text=True, check=True)
    return True


def pretty(data):
    """JSON, a window list in one line."""
    text = json.dumps(data, indent=1, sort_keys=True)
    import re
    return re.sub(r"\[\s+([-\d.,e\s]+?)\s+\]", lambda m: "[" + re.sub(r"\s+", " ", m.group(1)) + "]", text) + "\n"


def write(data, root):
    where = os.path.join(root, "docs/performance")
    some = next(iter(data["cells"].values()))
    versions = sorted({g["version"] for g in data["cells"].values()})
    windows = min((len(v) for g in data["cells"].values() for v in g["windows"].values()), default=0)
    pictures = plots(data, where)
    notes = os.path.join(where, "packet-path-notes.md")
    parts = [f"""# The packet path on one core, beside OVS-DPDK

64-byte frames, one forwarding core, at least {windows} windows of {some['seconds']:.1f} s for each cell and switch, in turn in one run while the others step aside (net_pcap: are frozen). Devices: our
generator and sink (`scripts/genpmd`), which testpmd, OVS and ofswitch load alike, or, where a cell says so, `net_pcap` (infinite_rx) and `net_null`. Mpps
are medians, ± is half the range. Net cycles are time-stamp cycles ({some['hz'] / 1e9:.2f} GHz) per packet above testpmd's `io` loop on the same devices. Before timing, each
switch had to do the right thing (last table). Written by `make bench` (`scripts/bench`); raw figures in [packet-path.json](packet-path.json).

Machine: {some['machine']}, hugepages of 2 MiB. ofswitch: {', '.join(versions)}. OVS-DPDK: {next((g['ovs'] for g in data['cells'].values() if g.get('ovs')), '-')} as Debian ships it, in
each cell with the best of five settings of its caches.

{table(data)}
"""]
    if pictures:
        parts.append("![packets a second](packet-path-rates.svg)\n\n![ratio](packet-path-ratio.svg)\n\n![net cycles](packet-path-net.svg)\n")
    for title, body in (("Under attack, and with many new flows", kept_table(data)), ("A flow-mod becomes effective", latency_table(data)), ("Kernels", isa_table(data)),
                        ("Where packets were found", hit_table(data))):
        if body:
            parts.append(f"## {title}\n\n{body}\n")
    if os.path.exists(notes):
        parts.append(open(notes).read())
    if checks(data).count("\n") > 1:
        parts.append(f"## Checked before timing\n\n{checks(data)}\n")
    with open(os.path.join(where, "packet-path.md"), "w") as f:
        f.write("\n".join(parts))
