#!/usr/bin/env python3
"""Hostile JSON-RPC bodies, and what each must be read as. Writes cases.json beside itself; `cases.py --check` compares.

A case has a `name`, a `body` (or `hex`, where it is no Unicode text), a `revision`, and either `refused: true` or what
must be read: `kind`, `method`, `target` (params.name or params.uri) and `id`.
"""

import json
import pathlib
import sys

FILE = pathlib.Path(__file__).with_name("cases.json")
OLD, NEW = "2025-11-25", "2026-07-28"
META = (
    '"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",'
    '"io.modelcontextprotocol/clientInfo":{"name":"corpus","version":"1"},'
    '"io.modelcontextprotocol/clientCapabilities":{}}'
)
cases = []


def case(name, body, revision=OLD, **expected):
    entry = {"name": name, "revision": revision}
    entry["hex" if isinstance(body, bytes) else "body"] = body.hex() if isinstance(body, bytes) else body
    cases.append(entry | (expected or {"refused": True}))


def passes(name, template, target="list_notes", id=1, method="tools/call", kind="request"):
    """`@META@` in a template becomes nothing in the old revision, and the metadata that the new one demands."""
    expected = {"kind": kind, "method": method, "target": target, "id": id}
    value = json.loads(template.replace("@META@", META))
    params = value.get("params", {})
    read = [value.get("method", ""), params.get("uri" if method == "resources/read" else "name"), value.get("id")]
    assert read == [method, target, id], (name, read)
    case(name, template.replace(",@META@", "").replace("@META@,", ""), OLD, **expected)
    if "@META@" in template:
        case(f"{name} ({NEW})", template.replace("@META@", META), NEW, **expected)


def call(name="list_notes", id="1", arguments="{}"):
    """A call from JSON texts; the tool's name is given as Python text unless it is quoted already."""
    quoted = name if name.startswith('"') else json.dumps(name, ensure_ascii=False)
    return f'{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":{quoted},"arguments":{arguments},@META@}}}}'


SMUGGLED = '{"jsonrpc":"2.0","id":99,"method":"tools/call","params":{"name":"delete_everything","arguments":{}}}'


def good_ones():
    passes("plain call", call())
    for text, value in [("0", 0), ("-7", -7), ("9007199254740991", 2**53 - 1), ('""', ""), ('"1"', "1"),
                        (r'"\u0061\/\"\\"', 'a/"\\'), ('"é😀"', "é😀"), (r'"\ud83d\ude00"', "😀"), ('"null"', "null")]:
        passes(f"id {text}", call(id=text), id=value)
    order = '{"params":{"arguments":{},@META@,"name":"list_notes"},"method":"tools/call","id":1,"jsonrpc":"2.0"}'
    passes("members in another order", order)
    escaped = '{"jsonrpc":"\\u0032.0","\\u0069d":1,"\\u006dethod":"\\u0074ools\\/call","params":{"n\\u0061me":"list\\u005fnotes",@META@}}'
    passes("escapes in names and values", escaped)
    extra = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_notes","uri":"x:y","vendor":[1],@META@},"trace":{"method":"tools/list"}}'
    passes("members that nobody knows", extra)
    for name in ["constructor", "__proto__", "toString", "hasOwnProperty", "../list_notes", "list notes", 'a"b\\c',
                 "LIST_NOTES", "list_notes ", " list_notes", "ｌist_notes", "list_notes\u200b", "\u202elist", "lіst_notes",
                 "e\u0301", "\u00e9", "😀", "a" * 1000, "true", "null", "0", "[object Object]", "\ufeffx", "\ufffd"]:
        passes(f"tool {name[:24]!r}", call(name), target=name)
    passes("tool in escapes", call(r'"\ud83d\ude00\u2028\u00e9"'), target="😀\u2028é")
    for gap in ["\n", "\r", "\r\n", "\t", " ", "\n\n\n"]:
        spaced = call().replace('":', f'"{gap}:{gap}').replace(',"', f',{gap}"').replace("{", f"{{{gap}").replace("}", f"{gap}}}")
        passes(f"gaps of {gap!r}", gap + spaced + gap)
    for end in ["\n", "\r", "\r\n", "\n\r"]:
        passes(f"a message on a line of its own, by {end!r}", call(arguments=f'{{"x":{end}{SMUGGLED}{end}}}'))
    for end in ["\u0085", "\u2028", "\u2029"]:
        quoted = json.dumps(SMUGGLED)[1:-1]
        passes(f"a message in a string, by U+{ord(end):04X}", call(arguments=f'{{"x":"{end}{quoted}{end}"}}'))
        passes(f"U+{ord(end):04X} in the tool's name", call(f"a{end}b"), target=f"a{end}b") if end != "\u0085" else None
    for escape in [r"\n", r"\r\n", r"\u000b", r"\u000c", r"\u001c", r"\u001e", r"\u0085", r"\u2028", r"\u0000", r"\ufeff"]:
        quoted = json.dumps(SMUGGLED)[1:-1]
        passes(f"a message in a string, by {escape}", call(arguments=f'{{"x":"{escape}{quoted}{escape}"}}'))
    for key in ["name", "method", "Method", "METHOD", "id", "jsonrpc", "params", "__proto__", "constructor", "_meta", ""]:
        passes(f"an argument {key!r}", call(arguments=f'{{"{key}":"tools/list"}}'))
    for number in ["1.10", "1E5", "-0", "0.1e-7", "9007199254740993", "123456789012345678901234567890", "1e308", "-1e-400"]:
        passes(f"a number {number}", call(arguments=f'{{"n":{number}}}'))
    passes("depth 50", call(arguments='{"x":' + "[" * 48 + "]" * 48 + "}"))
    passes("a long argument", call(arguments='{"x":"' + "é" * 3_000 + '"}'))
    passes("an argument of many members", call(arguments="{" + ",".join(f'"k{n}":{n}' for n in range(300)) + "}"))


def other_methods():
    for method, key, target in [("prompts/get", "name", "greet"), ("resources/read", "uri", "notes://1")]:
        text = f'{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"{key}":"{target}",@META@}}}}'
        passes(method, text, target=target, method=method)
    both = '{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"uri":"notes://1","name":"greet",@META@}}'
    passes("prompts/get with a uri too", both, target="greet", method="prompts/get")
    both = both.replace("prompts/get", "resources/read")
    passes("resources/read with a name too", both, target="notes://1", method="resources/read")
    for method in ["tools/list", "prompts/list", "resources/list"]:
        text = f'{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"x":1,@META@}}}}'
        passes(method, text, target=None, method=method)
    passes("ping", '{"jsonrpc":"2.0","id":1,"method":"ping"}', target=None, method="ping")
    for outcome in ['"result":{}', '"error":{"code":1,"message":"x"}']:
        passes(f"a response, {outcome[:8]}", f'{{"jsonrpc":"2.0","id":1,{outcome}}}', target=None, method="", kind="response")
    cancelled = '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":77}}'
    passes("a notification", cancelled, target=None, id=None, method="notifications/cancelled", kind="notification")
    case("a call without id", '{"jsonrpc":"2.0","method":"tools/call","params":{"name":"list_notes"}}')
    for method in ["Tools/Call", "tools/call ", " tools/call", "tools/call\\u0000", "tools//call", "toolѕ/call", "tools\\\\call", ""]:
        case(f"method {method!r}", call().replace("tools/call", method).replace(",@META@", ""))


def duplicates():
    old = call().replace(",@META@", "")
    for first, second in [('"id":2,', '"id":1'), ('"method":"tools/list",', '"method"'), ('"name":"greet",', '"name"'),
                          ('"params":{"name":"x"},', '"params"'), ('"jsonrpc":"1.0",', '"jsonrpc"'),
                          ('"\\u006dethod":"tools/list",', '"method"'), ('"n\\u0061me":"greet",', '"name"'),
                          ('"\\u0069\\u0064":2,', '"id"'), ('"arguments":{"a":1},', '"arguments"')]:
        case(f"twice: {first} before", old.replace(second, first + second, 1))
    case("twice: method after", old[:-1] + ',"method":"tools/list"}')
    case("twice: name after", old.replace('"arguments":{}', '"arguments":{},"name":"greet"'))
    case("twice in arguments", call(arguments='{"a":1,"a":2}').replace(",@META@", ""))
    case("twice deep in arguments", call(arguments='{"a":[{"b":{"c":1,"\\u0063":2}}]}').replace(",@META@", ""))
    case("twice in _meta", old.replace('"arguments":{}', '"_meta":{"progressToken":1,"progressToken":2}'))
    case("twice where nobody looks", old[:-1] + ',"x":{"y":1,"y":1}}')


def lookalikes():
    old = call().replace(",@META@", "")
    for name in ["Method", "METHOD", "method ", " method", "ｍethod", "m\u0435thod", "method\u200b", "method\\u0000", "met-hod",
                 "method\u00ad", "Id", "ID", "\u0131d", "i\u0307d", "Jsonrpc", "JSON-RPC", "json_rpc", "Params", "param\u017f",
                 "\ufeffmethod", "m\u00e9thod", "Result", "ERROR", "__proto__"]:
        case(f"envelope: {name!r}", old[:-1] + f',"{name}":"tools/list"}}')
    for name in ["Name", "NAME", "n\u0430me", "name ", "\u212aame", "na\u200bme", "ｎame", "URI", "Uri", "Arguments", "meta", "_Meta",
                 "__meta", "progress_token", "__proto__"]:
        case(f"params: {name!r}", old.replace('"arguments":{}', f'"arguments":{{}},"{name}":"greet"'))
    for name in ["ProgressToken", "progress_token", "IO.modelcontextprotocol/protocolVersion"]:
        case(f"_meta: {name!r}", old.replace('"arguments":{}', f'"_meta":{{"{name}":"x"}}'))


def bad_types():
    for id in ["null", "true", "1.0", "1.5", "1e2", "-0", "9007199254740992", "-9007199254740992", "1" + "0" * 30, "{}", "[]", "[1]",
               r'"\ud800"', r'"\udc00\ud800"']:
        case(f"id {id}", call(id=id).replace(",@META@", ""))
    for name in ["1", "null", "true", '["list_notes"]', '{"x":1}', '""', r'"\u0000list_notes"', r'"list\nnotes"', r'"\ud800"', r'"a\u007f"']:
        text = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":%s}}' % name
        case(f"tool {name}", text)
    for method in ["null", "1", '["tools/call"]', '{"tools/call":1}']:
        case(f"method {method}", '{"jsonrpc":"2.0","id":1,"method":%s,"params":{"name":"list_notes"}}' % method)
    for params in ["null", "[]", '["list_notes"]', '"list_notes"', "1", "{}"]:
        case(f"params {params}", '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":%s}' % params)
    for version in ['"1.0"', "2.0", "2", "null", '"2.0 "', '"2"', '["2.0"]']:
        case(f"jsonrpc {version}", '{"jsonrpc":%s,"id":1,"method":"tools/call","params":{"name":"list_notes"}}' % version)
    old = call().replace(",@META@", "")
    case("no jsonrpc", old.replace('"jsonrpc":"2.0",', ""))
    case("no params", '{"jsonrpc":"2.0","id":1,"method":"tools/call"}')
    case("request and response", old[:-1] + ',"result":{}}')
    case("result and error", '{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":"x"}}')
    case("neither", '{"jsonrpc":"2.0","id":1}')
    case("resource without uri", '{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"name":"x"}}')


def no_json():
    old = call().replace(",@META@", "")
    raw = old.encode()
    for name, body in [("empty", ""), ("a space", " "), ("a newline", "\n"), ("scalar", '"tools/call"'), ("null", "null"), ("number", "1"),
                       ("batch", f"[{old}]"), ("batch of two", f"[{old},{SMUGGLED}]"), ("empty batch", "[]"), ("batch after a gap", f" \n[{old}]"),
                       ("two messages", old + SMUGGLED), ("two messages, a newline", f"{old}\n{SMUGGLED}"), ("two messages, CR", f"{old}\r{SMUGGLED}"),
                       ("two messages, RS", f"{old}\x1e{SMUGGLED}"), ("two messages, U+2028", f"{old}\u2028{SMUGGLED}"),
                       ("two messages, NUL", f"{old}\0{SMUGGLED}"), ("trailing NUL", old + "\0"), ("trailing comma", old[:-1] + ",}"),
                       ("trailing word", old + "x"), ("trailing brace", old + "}"), ("cut off", old[:-1]), ("comment", old[:-1] + "/*x*/}"),
                       ("line comment", old + "//x"), ("single quotes", old.replace('"', "'")), ("unquoted", old.replace('"method"', "method")),
                       ("BOM", "\ufeff" + old), ("form feed", "\f" + old), ("vertical tab", old.replace(":", ":\v", 1)), ("NBSP", old.replace(":", ":\u00a0", 1)),
                       ("U+2028 between tokens", old.replace(",", ",\u2028", 1)), ("U+0085 between tokens", old.replace(",", ",\u0085", 1)),
                       ("raw newline in a string", call(arguments='{"x":"\n"}').replace(",@META@", "")),
                       ("raw CR in a string", call(arguments='{"x":"\r"}').replace(",@META@", "")),
                       ("raw tab in a string", call(arguments='{"x":"\t"}').replace(",@META@", "")),
                       ("raw NUL in a name", old.replace("list_notes", "list_notes\0")),
                       ("bad escape", old.replace("list_notes", "list\\xnotes")), ("short escape", old.replace("list_notes", "list\\u00e")),
                       ("escaped newline", old.replace("list_notes", "list\\\nnotes")),
                       ("SSE around it", f"data: {old}\n\n"), ("a header before it", f"Content-Length: {len(old)}\r\n\r\n{old}")]:
        case(name, body)
    for number in ["NaN", "Infinity", "-Infinity", "01", "+1", "1.", ".5", "0x1", "1e", "1_000", "--1", "1e999", "-1e999", "٣"]:
        case(f"number {number}", call(arguments=f'{{"n":{number}}}').replace(",@META@", ""))
    for surrogate in [r"\ud800", r"\udfff", r"\ud800\ud800", r"\ud83dx", r"\ude00\ud83d"]:
        case(f"half a pair {surrogate}", call(arguments=f'{{"x":"{surrogate}"}}').replace(",@META@", ""))
        case(f"half a pair {surrogate} as a name", call(arguments=f'{{"{surrogate}":1}}').replace(",@META@", ""))
    for name, body in [("UTF-16", old.encode("utf-16")), ("UTF-32", old.encode("utf-32-le")), ("Latin-1", raw.replace(b"list_notes", b"list\xe9")),
                       ("overlong quote", raw.replace(b"list_notes", b"list\xc0\xa2")), ("encoded surrogate", raw.replace(b"list_notes", b"\xed\xa0\x80")),
                       ("cut UTF-8", raw.replace(b"list_notes", b"list\xe2\x80")), ("beyond Unicode", raw.replace(b"list_notes", b"\xf4\x90\x80\x80")),
                       ("BOM in bytes", b"\xef\xbb\xbf" + raw), ("gzip", bytes.fromhex("1f8b0800") + raw)]:
        case(name, body)
    for depth in [70, 200, 3_000]:
        case(f"depth {depth}", call(arguments='{"x":' + "[" * depth + "]" * depth + "}").replace(",@META@", ""))
        case(f"depth {depth} of objects", call(arguments='{"x":' * depth + "1" + "}" * depth).replace(",@META@", ""))
    case("depth that never ends", "[" * 10_000)


def main():
    for group in (good_ones, other_methods, duplicates, lookalikes, bad_types, no_json):
        group()
    names = [entry["name"] for entry in cases]
    assert len(set(names)) == len(names), sorted(name for name in names if names.count(name) > 1)
    text = json.dumps(cases, indent=0, ensure_ascii=True) + "\n"
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if FILE.read_text() == text else "cases.json is not what cases.py writes")
    FILE.write_text(text)
    print(f"{len(cases)} cases, {sum('refused' in entry for entry in cases)} to be refused")


if __name__ == "__main__":
    main()
