"""The response decoder: every way an answer may be written, and every way it may be wrong."""

import base64
import json
import random
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DarkroomError, Verdict
from shared.model.decode import ResponseDecoder, decode_images

PNG = b"\x89PNG\r\n\x1a\n" + random.Random(1).randbytes(85)
JPEG = b"\xff\xd8\xff\xe0" + random.Random(2).randbytes(62)
USAGE = {"total_tokens": 4210, "input_tokens": 50, "output_tokens": 4160, "input_tokens_details": {"text_tokens": 50}}
VERDICTS = {"hate": {"filtered": False, "severity": "safe"}}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def answer(*images: bytes) -> dict:
    items = [{"b64_json": b64(image), "content_filter_results": VERDICTS} for image in images]
    return {"created": 1_760_000_000, "data": items, "usage": USAGE, "size": "1024x1024"}


def skeleton_of(*images: bytes) -> dict:
    whole = answer(*images)
    for index, item in enumerate(whole["data"]):
        item["b64_json"] = index
    return whole


def cut(body: bytes, *sizes: int) -> Iterator[bytes]:
    """The body in chunks of these sizes, the last size repeated."""
    position, number = 0, 0
    while position < len(body):
        size = sizes[min(number, len(sizes) - 1)]
        yield body[position : position + size]
        position, number = position + size, number + 1


def decode(chunks: Iterator[bytes] | list[bytes], **caps: int) -> tuple[dict, list[bytes]]:
    decoder = ResponseDecoder(**caps)
    images: list[bytes] = []
    current = b""
    for chunk in chunks:
        for index, data in decoder.decode(chunk):
            assert index == len(images)
            if data is None:
                images.append(current)
                current = b""
            else:
                current += data
    skeleton = decoder.flush()
    assert not current
    return skeleton, images


def refused(body: bytes, **caps: int) -> str:
    """The one code with which every way of cutting `body` is refused."""
    codes = set()
    for size in (1, 2, 3, 7, 64, len(body) or 1):
        with pytest.raises(DarkroomError) as caught:
            decode(cut(body, size), **caps)
        assert caught.value.verdict is Verdict.UNKNOWN
        codes.add(caught.value.code)
    assert len(codes) == 1, codes
    return codes.pop()


def test_images_and_skeleton_come_out_wherever_the_answer_is_cut_in_two():
    body = json.dumps(answer(PNG, JPEG)).encode()
    for offset in range(1, len(body)):
        assert decode([body[:offset], body[offset:]]) == (skeleton_of(PNG, JPEG), [PNG, JPEG]), offset


@pytest.mark.parametrize("size", range(1, 70))
def test_images_come_out_of_chunks_of_any_one_size(size):
    body = json.dumps(answer(PNG, JPEG), indent=1).encode()
    assert decode(cut(body, size)) == (skeleton_of(PNG, JPEG), [PNG, JPEG])


@given(
    images=st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=10),
    sizes=st.lists(st.integers(1, 400), min_size=1, max_size=30),
    indent=st.sampled_from([None, 0, 3]),
    ascii_only=st.booleans(),
    prompt=st.text(max_size=60),
    escaped=st.booleans(),
)
def test_any_images_in_any_writing_of_json_and_any_chunks_keep_every_byte(
    images, sizes, indent, ascii_only, prompt, escaped
):
    whole = answer(*images)
    for item in whole["data"]:
        item["revised_prompt"] = prompt
    text = json.dumps(whole, indent=indent, ensure_ascii=ascii_only)
    if escaped:
        text = text.replace("/", "\\/")
    expected = skeleton_of(*images)
    for item in expected["data"]:
        item["revised_prompt"] = prompt.encode(errors="replace").decode()
    assert decode(cut(text.encode(), *sizes)) == (expected, images)


@given(text=st.text('AZaz09+/=\\u002f"{}[]:, b64_json', max_size=80), size=st.integers(1, 20))
def test_no_text_in_place_of_an_image_does_more_than_be_decoded_or_refused(text, size):
    body = b'{"data":[{"b64_json":"' + text.encode() + b'"}]}'
    try:
        images = decode(cut(body, size))[1]
    except DarkroomError as error:
        code = error.code
    else:
        texts = [item["b64_json"] for item in json.loads(body)["data"] if item.get("b64_json") is not None]
        assert images == [base64.b64decode(read, validate=True) for read in texts]
        return
    assert code in ("response_not_json", "response_broken_base64", "response_cut")


def test_text_that_looks_like_an_image_member_is_left_alone_inside_other_strings():
    decoy = 'a "b64_json": "QUJD" and {"data":[{"b64_json":"QUJD"}]} \\" \\'
    whole = {"data": [{"revised_prompt": decoy, "b64_json": b64(PNG), "b64_json ": "QUJD"}], "note": decoy}
    skeleton, images = decode(cut(json.dumps(whole).encode(), 5))
    assert images == [PNG]
    assert skeleton["data"][0]["revised_prompt"] == skeleton["note"] == decoy


def test_only_members_of_the_items_of_data_are_images():
    text = b64(PNG)
    whole = {
        "b64_json": text,
        "data": [{"more": {"b64_json": text}, "list": [{"b64_json": text}], "b64_json": text}, text, [text]],
        "other": [{"b64_json": text}],
    }
    skeleton, images = decode([json.dumps(whole).encode()])
    assert images == [PNG]
    assert skeleton["b64_json"] == skeleton["other"][0]["b64_json"] == skeleton["data"][0]["more"]["b64_json"] == text


def test_members_may_come_in_any_order_with_any_white_space():
    body = f'\r\n {{ "usage" : {{}} ,\t"data"\n:[ {{"x":1 , "b64_json" \n : \t"{b64(PNG)}"\r\n, "y":[] }} ] }}\n '
    assert decode(cut(body.encode(), 3)) == ({"usage": {}, "data": [{"x": 1, "b64_json": 0, "y": []}]}, [PNG])


def test_a_key_may_be_written_with_escapes():
    body = '{"d\\u0061ta":[{"b64\\u005fjson":"' + b64(PNG) + '"}]}'
    assert decode(cut(body.encode(), 1))[1] == [PNG]


def test_an_item_without_an_image_is_passed_over():
    whole = {"data": [{"b64_json": None, "url": "u"}, {"b64_json": b64(PNG)}]}
    skeleton, images = decode(cut(json.dumps(whole).encode(), 4))
    assert images == [PNG]
    assert [item["b64_json"] for item in skeleton["data"]] == [None, 0]


def test_a_byte_order_mark_is_passed_over():
    body = b"\xef\xbb\xbf" + json.dumps(answer(PNG)).encode()
    for size in (1, 2, 3, 4, 500):
        assert decode(cut(body, size))[1] == [PNG]


@pytest.mark.parametrize("slash", ["\\/", "\\u002f", "\\u002F"])
def test_a_slash_of_base64_may_be_escaped(slash):
    image = b"\xff\xff\xff" * 40 + PNG
    body = ('{"data":[{"b64_json":"' + b64(image).replace("/", slash) + '"}]}').encode()
    for size in range(1, 40):
        assert decode(cut(body, size))[1] == [image], size


def test_half_a_surrogate_pair_does_not_come_out_since_nothing_could_store_it():
    skeleton, images = decode([b'{"data":[{"revised_prompt":"a\\ud83d","b64_json":"' + b64(PNG).encode() + b'"}]}'])
    assert skeleton["data"][0]["revised_prompt"].encode() == b"a?"
    assert images == [PNG]


def test_images_come_out_before_the_answer_has_ended():
    body = json.dumps(answer(PNG, JPEG)).encode()
    decoder = ResponseDecoder()
    begun = [item for item in decoder.decode(body[: len(body) // 3]) if item[1]]
    assert begun


@pytest.mark.parametrize(
    "text",
    [
        "QUJDR",
        "QUJDRA",
        "QUJDRA=",
        "QUJD=",
        "QQ==QUJD",
        "QUI=QUJD",
        "====",
        "QUJ*",
        "QU JD",
        "QUJD\\n",
        "QU\\\\JD",
        "é===",
    ],
)
def test_broken_base64_is_refused_by_name(text):
    assert refused(f'{{"data":[{{"b64_json":"{text}"}}]}}'.encode()) == "response_broken_base64"


def test_padding_is_refused_in_the_middle_wherever_the_chunk_ends():
    body = b'{"data":[{"b64_json":"QUI=' + b"QUJD" * 30 + b'"}]}'
    for offset in range(20, len(body)):
        with pytest.raises(DarkroomError) as caught:
            decode([body[:offset], body[offset:]])
        assert caught.value.code == "response_broken_base64"


@pytest.mark.parametrize(
    "body",
    [
        "<html>Bad gateway</html>",
        "null",
        "[]",
        '"text"',
        '{"data":[}',
        '{"data":[]]',
        '{"data":[]} x',
        '{"data":[{"b64_json":"QUJD" "QUJD"}]}',
        '{"data":[{"b64_json":"QUJD","b64_json":"QUJD"}]}',
        '{"data":[{"b64_json":"QUJD"}],"data":[]}',
        '{"data":[{"b64_json":0}]}',
        '{"data":[{"b64_json":7},{"b64_json":"QUJD"}]}',
        '{"data":[{"b64_json":"QUJD"}],"usage":NaN}',
        '{"a":"\\x"}',
        '{"a":"line\nbreak"}',
        '{"created":' + "1" * 5000 + "}",
        '{"data":[{"b64_json":"QUJD"}]}{"data":[{"b64_json":"QUJD"}]}',
    ],
)
def test_what_is_no_json_object_or_contradicts_itself_is_refused_by_name(body):
    assert refused(body.encode()) == "response_not_json"


def test_an_answer_that_is_no_utf8_is_refused_by_name():
    assert refused(b'{"note":"\xff"}') == "response_not_json"
    assert refused(b'{"\xff":1}') == "response_not_json"


@pytest.mark.parametrize("opening", ["[", '{"a":', "[{}, "])
def test_deep_nesting_is_refused_before_any_parser_sees_it(opening):
    assert refused(b'{"data":' + opening.encode() * 5_000) == "response_not_json"


def test_an_answer_cut_at_any_byte_is_refused_as_cut():
    body = json.dumps(answer(PNG)).encode()
    for end in range(len(body)):
        with pytest.raises(DarkroomError) as caught:
            decode([body[:end]])
        assert caught.value.code == "response_cut", end


def test_an_image_over_the_cap_is_refused_by_name_and_one_at_the_cap_is_not():
    body = json.dumps(answer(JPEG, PNG)).encode()
    assert refused(body, max_image_bytes=len(PNG) - 1) == "image_over_cap"
    assert decode([body], max_image_bytes=len(PNG))[1] == [JPEG, PNG]


def test_more_images_than_can_be_asked_for_are_refused_by_name():
    assert refused(json.dumps(answer(*[JPEG] * 11)).encode()) == "response_too_large"
    assert decode([json.dumps(answer(*[JPEG] * 10)).encode()])[1] == [JPEG] * 10


def test_a_flood_beside_the_images_is_refused_by_name_before_it_is_kept():
    assert refused(b'{"data":[],"note":"' + b"x" * 5_000, max_skeleton_bytes=4_096) == "response_too_large"
    assert refused(b'{"' + b"k" * 5_000, max_skeleton_bytes=4_096) == "response_too_large"
    assert refused(b'{"data":' + b" " * 5_000, max_skeleton_bytes=4_096) == "response_too_large"


class Sink:
    def __init__(self) -> None:
        self.images: list[bytes] = []
        self.current = b""

    async def piece(self, index: int, data: bytes) -> None:
        assert index == len(self.images)
        self.current += data

    async def end(self, index: int) -> None:
        self.images.append(self.current)
        self.current = b""


async def arriving(*chunks: bytes, error: Exception | None = None) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
    if error:
        raise error


async def test_the_sink_gets_each_image_and_the_caller_the_rest():
    sink = Sink()
    skeleton = await decode_images(arriving(*cut(json.dumps(answer(PNG, JPEG)).encode(), 33)), sink)
    assert (skeleton, sink.images) == (skeleton_of(PNG, JPEG), [PNG, JPEG])


async def test_nothing_more_is_read_while_the_sink_is_busy():
    events: list[str] = []

    class Slow(Sink):
        async def piece(self, index: int, data: bytes) -> None:
            events.append("piece")
            await super().piece(index, data)

    async def chunks() -> AsyncIterator[bytes]:
        for chunk in cut(json.dumps({"data": [{"b64_json": b64(PNG)}]}).encode(), 40):
            events.append("read")
            yield chunk

    await decode_images(chunks(), Slow())
    assert events[:4] == ["read", "piece", "read", "piece"]


async def test_an_error_object_in_a_200_is_handed_back():
    error = {"error": {"code": "moderation_blocked", "message": "no"}}
    assert await decode_images(arriving(json.dumps(error).encode()), Sink()) == error


@pytest.mark.parametrize("body", ["{}", '{"data":[]}', '{"data":null}', '{"data":3}', '{"data":[{"url":"u"}]}'])
async def test_an_answer_without_an_image_is_refused_by_name(body):
    with pytest.raises(DarkroomError) as caught:
        await decode_images(arriving(body.encode()), Sink())
    assert caught.value.code == "response_without_images"


@pytest.mark.parametrize("error", [httpx.ReadError("reset"), httpx.ReadTimeout("silent"), httpx.ConnectTimeout("gone")])
async def test_a_connection_that_breaks_is_an_answer_that_was_cut(error):
    sink = Sink()
    body = json.dumps(answer(PNG, JPEG)).encode()
    with pytest.raises(DarkroomError) as caught:
        await decode_images(arriving(body[:-300], error=error), sink)
    assert caught.value.code == "response_cut"
    assert sink.images == [PNG]


async def test_what_the_sink_raises_passes_through():
    class Full(Sink):
        async def end(self, index: int) -> None:
            raise DarkroomError("storage_unavailable", "full")

    with pytest.raises(DarkroomError) as caught:
        await decode_images(arriving(json.dumps(answer(PNG)).encode()), Full())
    assert caught.value.code == "storage_unavailable"
