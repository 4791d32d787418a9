"""200 names and texts that are markup, or trouble, somewhere: in mathematics, Rich, Markdown, HTML, shells or fonts."""
# ruff: noqa: E501

from __future__ import annotations

SIGNS = [
    "$", "$$", "a$^$b", "$\\frac{a}{b$ _^", "_", "^", "\\", "\\\\", "\\alpha", "%", "%s", "{}", "{0}", "{{7*7}}", "{%x%}", "#",
    "# h", "##", "*a*", "**a**", "_a_", "~~a~~", "`", "``", "```", "````", "~~~", "a`b", "`a", "> q", "- a", "1. a", "|a|b|",
    "---", "===", "![a](b)", "[a](b)", "[a]: b", "<a@b.cc>", "\\`", "&", "&amp;", "&lt;", "&#0;", "&nbsp;", "<", ">", "<b>", "<i>x",
    "<!--", "-->", "<![CDATA[", "]]>", "<script>alert(1)</script>", "<script>", "</title><script>x</script>",
    "</style><b>", "</pre></main>", "</svg><img src=x>", "<img src=x onerror=y>", "<svg onload=x>", "<details open>", "<base href=x>",
    "\" onload=\"x", "' onload='x", "javascript:x", "data:text/html,x", "[bold]", "[/]", "[/bold]", "[red]x", "[link=x]y[/link]",
    "[@click=x]y", ":smile:", "\\[bold]", "[[", "]]", "(", ")", "()", ";", "; ls", "$(ls)", "${x}", "!", "!!", "?", "*", "a b",
    " a", "a ", "  ", "'", "\"", "''", "a'b", "a\"b", "=1+1", "+1", "@x", "-x", "--help", "-", "--", ".a", "...", "a.b", ",", "~", "~a",
    "a=b", "a:b", "C:", "nul", "con", "latest", "null", "None", "NaN", "inf", "0", "-1", "1e9", "true", "[]",
]  # fmt: skip
SCRIPTS = [
    "Grüße", "naïve", "Ελληνικά", "Привет", "שלום", "مرحبا", "नमस्ते", "สวัสดี", "你好", "こんにちは", "안녕", "አማርኛ", "ᏣᎳᎩ", "ქართული",
    "Հայերեն", "தமிழ்", "বাংলা", "မြန်မာ", "ខ្មែរ", "ລາວ", "བོད", "ᚠᚢᚦ", "𐍈", "𝕬𝖇", "𒀀", "ﷺ", "ǅ", "ﬁ", "İi", "ß", "e\u0301", "Z\u0351\u036b\u0343" * 9,
]  # fmt: skip
EMOJI = ["🙂", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "👍🏽", "❤️", "🫠", "1️⃣", "\u200d", "🙂" * 40]
LONG = ["x" * 300, "x " * 150, "é" * 300, "字" * 300, "<" * 300, "$" * 300, "`" * 300, "w_" * 150, "a-" * 150]
CONTROL = [
    "\x01", "\x07", "\x08", "\x0b", "\x0c", "\x1b[31m", "\x1b]0;t\x07", "\x1b[2J", "\x7f", "\x80", "\x85", "\x9b2J", "\r", "\r\n", "\n", "\n\n# h",
    "\t", "a\nb", "\x00", "\x1a", "\u2028", "\u2029", "\u200b", "\u200e", "\u200f", "\u202e", "\u202eabc", "\u2066", "\u061c", "\ufeff", "\ufffd",
    "\uffff", "\ue000", "\ud800", "\udcff", "\U0010ffff",
]  # fmt: skip
ALL = [*SIGNS, *SCRIPTS, *EMOJI, *LONG, *CONTROL]
FEW = [
    "a$^$b",
    "<script>alert(1)</script>",
    "[bold]`x`\x1b[31m",
    "日本語 🙂 مرحبا",
    "</svg><img src=x>",
    "x" * 190,
    "\u202eabc",
]


def is_folder_name(text: str) -> bool:
    """Return whether a run's folder can have a name on every file system that these tests run on."""
    try:
        return text not in (".", "..") and not set("/\x00") & set(text) and 0 < len(text.encode()) <= 200
    except UnicodeEncodeError:
        return False
