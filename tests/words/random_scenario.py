"""Random scenario files, by a seed: contenders, faults and loads of every kind. Nothing here knows what should come out."""
import random

LOCAL_EVENTS = ["disk.fail", "disk.fail", "disk.latent", "disk.slow", "disk.hang", "disk.corrupt", "node.crash",
                "node.power_loss", "node.freeze", "array.scrub", "volume.overwrite"]
REMOTE_EVENTS = ["node.crash", "node.crash", "node.power_loss", "node.freeze", "link.drop", "link.latency",
                 "link.bandwidth", "arbiter.stop", "volume.promote", "disk.fail", "node.clock", "link.flap"]


def local_node(rng, name):
    level = rng.choice([0, 1, 4, 5, 5, 6, 6, 10])
    disks = {0: rng.randint(2, 4), 1: rng.randint(2, 3), 6: rng.randint(4, 6), 10: rng.randint(2, 4)}.get(level, rng.randint(3, 5))
    keys = [f"raid = {level}", f"disks = {disks}", f"spares = {rng.choice([0, 1, 1, 2])}", 'chunk = "64K"',
            'member_timeout = "300ms"']
    if level in (4, 5, 6) and rng.random() < 0.25:
        keys.append('consistency = "journal"')
    return name + " = { " + ", ".join(keys) + " }"


def contender(rng, index, sites):
    kind = rng.choice(["local", "local", "remote", "remote", "hybrid"])
    lines = ["[[contender]]", f'name = "{kind}_{index}"', f'reboot = "{rng.choice([50, 200, 500])}ms"']
    if kind == "local":
        return lines + [local_node(rng, "node.A")]
    count = rng.choice([2, 3, 3, 4])
    names = ["A", "B", "C", "D"][:count]
    lines.append("nodes = [" + ", ".join(f'"{n}"' for n in names) + "]")
    lines.append(f"each = {{ raid = 0, disks = 1, spares = {rng.choice([0, 0, 1])} }}" if kind == "remote" else local_node(rng, "each"))
    if kind == "hybrid" and "raid = 0" in lines[-1]:
        lines[-1] = lines[-1].replace("raid = 0", "raid = 1")
    lines.append(f'replicate = {{ ack = "{rng.choice(["durable", "durable", "quorum", "received", "async"])}", primary = "A", '
                 f'detect = "{rng.choice([60, 200, 400, 800])}ms", link = "lan" }}')
    if sites:
        half = (count + 1) // 2
        east, west = names[:half], names[half:]
        listed = lambda part: "[" + ", ".join(f'"{n}"' for n in part) + "]"
        lines.append(f"sites = {{ east = {listed(east)}, west = {listed(west)} }}")
        lines.append('between = { east-west = "wan" }')
    return lines


def event(rng, index, verbs, length):
    verb = rng.choice(verbs)
    lines = ["[[event]]", f'name = "{rng.choice(["it goes", "blow", "e", "the cable"])} {index}"', f'do = "{verb}"']
    if index > 1 and rng.random() < 0.35:
        lines += [f'after = "{event.last}"', 'when = "redundancy == full"', f'delay = "{rng.choice([0, 50, 300])}ms"']
        if rng.random() < 0.4:
            lines[-2] = f'when = "rebuild >= {rng.choice([10, 50])}%"'
    else:
        lines.append(f'at = "{rng.randint(10, length - 12) * 50 + rng.choice([0, 0, 7])}ms"')
    event.last = lines[1].split('"')[1]
    disk = f"@serving.disk{rng.randint(0, 1)}"
    target = {"disk": disk, "node": rng.choice(["@serving", "@serving", "@secondary:1", "A"]),
              "link": rng.choice(["@serving-@secondary", "@serving>@secondary", "client-@serving"]),
              "array": "A", "volume": "B", "site": "east", "arbiter": None}[verb.split(".")[0]]
    if verb == "volume.overwrite":
        target = "volume"
        lines.append('range = ["1MiB", "2MiB"]')
    if target:
        lines.append(f'target = "{target}"')
    lasts = {"disk.slow", "disk.hang", "node.crash", "node.power_loss", "node.freeze", "link.drop", "link.latency",
             "link.bandwidth", "arbiter.stop", "node.clock", "link.flap", "site.lose"}
    if verb in lasts and (verb in ("link.flap", "node.clock") or rng.random() < 0.85):
        lines.append(f'for = "{rng.choice([80, 150, 400, 1000, 1800])}ms"')
    lines += {"disk.latent": [f"count = {rng.choice([4, 64])}", 'where = "data"'], "disk.corrupt": ["count = 16"],
              "disk.slow": ["factor = 10"], "link.latency": [f'add = "{rng.choice([5, 50])}ms"'],
              "link.bandwidth": ['bandwidth = "20Mbit/s"'], "link.flap": ['period = "60ms"'],
              "node.clock": ["rate = 95"]}.get(verb, [])
    return lines


def scenario(seed):
    """(text of the file, what the checks need to know of it)"""
    rng = random.Random(seed)
    model = rng.choice(["sata-ssd"] * 6 + ["nvme", "nvme", "hdd", "ostep"])
    slow = model in ("hdd", "ostep")
    rate = rng.choice([20, 40] if slow else [50, 200, 400, 1200])
    length = rng.choice([60, 80, 120])  # times 50 ms
    sites = rng.random() < 0.2
    facts = {"rate_iops": rate, "speed_max": 0}
    lines = ["schema = 1", f'title = "Words {seed}"', 'goal = "Do the words fit the figures?"', f"seed = {seed}",
             f'volume = "{rng.choice([8, 16, 32])}MiB"', 'fair = "same-usable"', f'length = "{length * 50}ms"',
             f'settle = "{rng.choice([500, 3000, 6000])}ms"', "[disk]", f'model = "{model}"', "[link.lan]",
             f'rtt = "{rng.choice(["0.1ms", "0.2ms", "1ms"])}"', f'bandwidth = "{rng.choice(["10Gbit/s", "1Gbit/s", "100Mbit/s"])}"',
             "[link.wan]", 'rtt = "10ms"', 'bandwidth = "1Gbit/s"']
    if rng.random() < 0.5:
        lines.insert(4, 'show = ["' + '", "'.join(rng.sample(["write_latency_p50", "read_latency_p99", "iops", "longest_stall",
                     "write_amplification", "damaged_bytes", "node_exposed_time", "repair_rate"], 2)) + '"]')
    least, most = rng.choice([(0, 0), (8, 24), (0, 16), (4, 0), (48, 48)])
    if least or most:
        lines.append("[rebuild]")
        lines += [f'speed_min = "{least}MiB/s"'] if least else []
        lines += [f'speed_max = "{most}MiB/s"'] if most else []
        facts["speed_max"] = most * 2**20
    for i in range(rng.choice([1, 2, 2, 3, 5])):
        lines += contender(rng, i, sites)
    lines += ["[workload]", f'rw = "{rng.choice(["randrw", "randrw", "randwrite", "randread"])}"', "rwmixread = 60",
              f'bs = "{rng.choice(["4K", "16K"])}"', f"rate_iops = {rate}", f"flush_every = {rng.choice([0, 64])}",
              f'retry = "{rng.choice(["1s", "20s"])}"', f'warmup = "{rng.choice(["0ms", "500ms"])}"']
    event.last = ""
    verbs = (LOCAL_EVENTS + REMOTE_EVENTS) + (["site.lose"] * 3 if sites else [])
    for i in range(rng.choice([0, 1, 1, 2, 2, 3, 4])):
        lines += event(rng, i + 1, verbs, length)
    lines += ["[[expect]]", 'check = "lost_writes >= 0"']
    return "\n".join(lines) + "\n", facts
