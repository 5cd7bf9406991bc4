"""Names of files that are safe, and types that follow from names and contents."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intercom_bridge.files.names import MAX_NAME, content_type_of, extension_of, is_forbidden, safe_name
from intercom_bridge.models.workspace import FORBIDDEN_FILE_TYPES
from tests.ids import short_id

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF"
PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3"
ZIP = b"PK\x03\x04\x14\0\0\0\x08\0" + b"\0" * 20 + b"[Content_Types].xml"
JAR = b"PK\x03\x04\x14\0\0\0\x08\0" + b"\0" * 20 + b"META-INF/MANIFEST.MF"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 16
EXE = b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0"
LNK = b"L\0\0\0\x01\x14\x02\0\0\0\0\0\xc0\0\0\0"
SVG = b'<?xml version="1.0"?>\n<!-- made by hand -->\n<svg xmlns="http://www.w3.org/2000/svg"></svg>'
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("screenshot.png", "screenshot.png"),
        ("Capture d'écran 2026.png", "Capture d’écran 2026.png"),
        ("Cafe\u0301.pdf", "Café.pdf"),
        ("請求書.xlsx", "請求書.xlsx"),
        ("bug 🐞.png", "bug 🐞.png"),
        ("../../etc/passwd", ".._.._etc_passwd"),
        ("C:\\Users\\a\\b.txt", "C__Users_a_b.txt"),
        ('a"b;c.txt', "a_b_c.txt"),
        ("a\r\nSet-Cookie: x.txt", "a Set-Cookie_ x.txt"),
        ("a\0b\x7f\x85.txt", "ab.txt"),
        ("photo\u202egnp.exe", "photognp.exe"),
        ("zero\u200bwidth\ufeff.txt", "zerowidth.txt"),
        ("half\ud800.txt", "half.txt"),
        ("  many   spaces .txt ", "many spaces.txt"),
        ("program.exe. . .", "program.exe"),
        ("", "file"),
        (".", "file"),
        ("..", "file"),
        (" . . ", "file"),
        ("....png", "file.png"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("console.txt", "console.txt"),
        (".gitignore", ".gitignore"),
    ],
    ids=short_id,
)
def test_a_name_becomes_safe(name: str, safe: str) -> None:
    assert safe_name(name) == safe


@pytest.mark.parametrize("length", [254, 255, 256, 304, 5000])
def test_a_long_name_keeps_its_extension(length: int) -> None:
    name = safe_name("x" * (length - 4) + ".pdf")
    assert len(name) == min(length, MAX_NAME)
    assert name.endswith("x.pdf")


def test_what_only_looks_like_a_long_extension_is_cut() -> None:
    assert len(safe_name("a." + "x" * 400)) == MAX_NAME


@pytest.mark.parametrize(
    ("name", "content_type", "safe"),
    [
        ("", "image/png", "file.png"),
        ("Screenshot", "image/jpeg; charset=binary", "Screenshot.jpg"),
        ("Report", XLSX, "Report.xlsx"),
        ("photo.gif", "image/png", "photo.gif"),
        ("setup", "application/vnd.microsoft.portable-executable", "setup"),
        ("README", "text/plain", "README"),
        ("x", "not a type", "x"),
    ],
)
def test_a_name_without_an_extension_gets_that_of_a_known_type(
    name: str, content_type: str, safe: str
) -> None:
    assert safe_name(name, content_type) == safe


@given(st.text(), st.text(max_size=40))
def test_any_name_becomes_safe(name: str, content_type: str) -> None:
    safe = safe_name(name, content_type)
    assert 1 <= len(safe) <= MAX_NAME
    assert not set(safe) & set("/\\:*?\"<>|;`'")
    assert not any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in safe)
    assert safe == safe.strip()
    assert not safe.endswith(".")
    assert safe_name(safe) == safe
    safe.encode()


@given(st.text(max_size=400), st.from_regex(r"[a-z]{1,5}[0-9]?", fullmatch=True))
def test_any_name_keeps_its_extension(stem: str, extension: str) -> None:
    assert safe_name(f"a{stem}.{extension}").endswith(f".{extension}")


@pytest.mark.parametrize(
    ("name", "head", "declared", "content_type"),
    [
        ("a.png", PNG, "image/png", "image/png"),
        ("a.jpg", PNG, "image/jpeg", "image/png"),
        ("a", JPEG, "", "image/jpeg"),
        ("a.webp", b"RIFF\x24\0\0\0WEBPVP8 ", "", "image/webp"),
        ("a.wav", b"RIFF\x24\0\0\0WAVEfmt ", "", "audio/x-wav"),
        ("a.txt", b"12345678WEBP", "", "text/plain"),
        ("a.mp4", b"\0\0\0\x20ftypisom", "", "video/mp4"),
        ("a.m4a", b"\0\0\0\x20ftypM4A ", "", "audio/mp4"),
        ("a.mov", b"\0\0\0\x14ftypqt  ", "", "video/quicktime"),
        ("a.heic", b"\0\0\0\x18ftypheic", "", "image/heic"),
        ("a.pdf", PDF, "", "application/pdf"),
        ("a.pdf", b"\0\0junk\r\n" + PDF, "", "application/pdf"),
        ("mail.txt", b"a line about %PDF-1.7", "", "text/plain"),
        ("a.xlsx", ZIP, "application/zip", XLSX),
        ("a.xlsx", OLE, "", XLSX),
        ("a.zip", ZIP, XLSX, "application/zip"),
        ("a.png", ZIP, "image/png", "application/zip"),
        ("a.doc", OLE, "", "application/msword"),
        ("a.msg", OLE, "", "application/vnd.ms-outlook"),
        ("a.doc", ZIP, "", "application/zip"),
        ("a.txt", OLE, "", "application/x-ole-storage"),
        ("invoice.pdf", EXE, "application/pdf", "application/vnd.microsoft.portable-executable"),
        ("a.png", b"<!DOCTYPE html><script>alert(1)</script>", "image/png", "text/html"),
        ("a.png", b"\xef\xbb\xbf \r\n<HTML>", "image/png", "text/html"),
        ("a.png", "<html>".encode("utf-16"), "image/png", "text/html"),
        ("a.png", SVG, "image/png", "image/svg+xml"),
        ("a.svg", b"<svg/>", "", "image/svg+xml"),
        ("a.txt", b"#!/bin/sh\n", "", "text/x-shellscript"),
        ("a.png", b"not a picture", "image/png", "text/plain"),
        ("a.png", b"\0\1\2\3", "image/png", "application/octet-stream"),
        ("a", b"\0\1\2\3", "image/png", "application/octet-stream"),
        ("a.txt", b"BMW and MZ", "", "text/plain"),
        ("a.txt", b"MZ is a company", "", "text/plain"),
        ("a.bmp", b"BM\x36\0\0\0\0\0", "", "image/bmp"),
        ("a.log", b"2026-11-28 error", "text/x-log", "text/x-log"),
        ("a.csv", b"a;b\r\n", "", "text/csv"),
        ("a.unknownext", b"abc", "Text/X-Log; charset=utf-8", "text/x-log"),
        ("a.mp3", b"\xff\xfb\x90\0", "", "audio/mpeg"),
        ("a", b"abc", "", "application/octet-stream"),
        ("a", b"abc", "nonsense\r\nX: y", "application/octet-stream"),
        ("a.png", b"", "", "image/png"),
    ],
    ids=short_id,
)
def test_the_type_follows_from_content_then_name_then_declaration(
    name: str, head: bytes, declared: str, content_type: str
) -> None:
    assert content_type_of(name, head, declared) == content_type


@given(st.text(max_size=40), st.binary(max_size=200), st.text(max_size=60))
def test_any_file_has_a_type_that_may_stand_in_a_header(name: str, head: bytes, declared: str) -> None:
    content_type = content_type_of(name, head, declared)
    assert content_type.isascii()
    assert content_type.isprintable()
    assert content_type == content_type.lower()
    assert content_type.count("/") == 1
    assert len(content_type) <= 255


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("setup.exe", b""),
        ("SETUP.EXE", b""),
        ("setup.exe. ", b""),
        ("photo.png.exe", b""),
        ("photo\u202egnp.exe", b""),
        (".exe", b""),
        ("photo.png", EXE),
        ("photo.png", LNK),
        ("data.zip", JAR),
        ("notes.txt", b"@echo off\r\ndel *"),
        ("notes.txt", "Windows Registry Editor Version 5.00".encode("utf-16")),
        ("page.html", b"<html><head><HTA:APPLICATION id=x>"),
        ("x" * 300 + ".exe", b""),
        ("a.ps1", b"Get-Process"),
        ("a.js", b"alert(1)"),
    ],
    ids=short_id,
)
def test_programs_are_forbidden_by_default(name: str, head: bytes) -> None:
    assert is_forbidden(name, content_type_of(name, head), head, FORBIDDEN_FILE_TYPES)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("a.png", PNG),
        ("a.zip", ZIP),
        ("a.msg", OLE),
        ("a.html", b"<html>"),
        ("exe", b"abc"),
        ("a.txt", b"MZ is a company"),
        ("com.example.log", b"abc"),
        ("a.bin", b"\0\1"),
    ],
    ids=short_id,
)
def test_documents_are_not_forbidden_by_default(name: str, head: bytes) -> None:
    assert not is_forbidden(name, content_type_of(name, head), head, FORBIDDEN_FILE_TYPES)


@pytest.mark.parametrize("types", ["html", ".html", "*.HTML", "exe, html", "exe;htm\nhtml"])
def test_types_are_written_in_several_ways(types: str) -> None:
    assert is_forbidden("a.html", "", b"", types)
    assert is_forbidden("a.txt", "text/html", b"", types)
    assert is_forbidden("a.txt", "", b"<html>", types)
    assert not is_forbidden("a.txt", "text/plain", b"abc", types)


def test_without_forbidden_types_everything_is_allowed() -> None:
    assert not is_forbidden("a.exe", "", EXE, " ")


def test_a_declared_type_without_a_signature_forbids_no_extension() -> None:
    # The registries list exe for application/octet-stream, and bat for text/plain.
    for content_type in ("application/octet-stream", "text/plain"):
        assert not is_forbidden("a", content_type, b"abc", FORBIDDEN_FILE_TYPES)


@given(st.text(max_size=40), st.text(max_size=40), st.binary(max_size=200), st.text(max_size=40))
def test_any_file_is_forbidden_or_not(name: str, content_type: str, head: bytes, types: str) -> None:
    assert is_forbidden(name, content_type, head, types) in (True, False)
    extension = extension_of(name)
    if extension and extension.isascii() and extension.isalnum():
        assert is_forbidden(name, content_type, head, f"{types} {extension}")
