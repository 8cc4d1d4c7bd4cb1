"""HTML to Markdown: golden cases per construct, what must survive, and hostile input."""

import html as entities
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tests.dumps import DUMPS, needs_dumps
from tests.make import response
from transforms.text.convert import post_to_markdown
from transforms.text.links import absolute_links
from transforms.text.markdown import MAX_INDENT, html_to_markdown

GOLDEN = {
    # paragraphs and text
    "nothing": ("", ""),
    "plain text without tags": ("just text", "just text"),
    "paragraphs": ("<p>a</p>\n\n<p>b</p>\n", "a\n\nb"),
    "empty paragraphs": ("<p>a</p><p>&nbsp;</p><p> </p><p>b</p>", "a\n\nb"),
    "soft line breaks": ("<p>a \n  b\nc</p>", "a\nb\nc"),
    "display formula keeps its indentation": ("<p>$$\n  a \n  b\n$$</p>", "$$\n  a\n  b\n$$"),
    "environment keeps its indentation": (
        "<p>\\begin{a}\n  b\n\\end{a}</p>",
        "\\begin{a}\n  b\n\\end{a}",
    ),
    "blank lines in text": ("<div>a\n\n\n\nb</div>", "a\n\nb"),
    "br": ("<p>a<br>b<br/>\nc<BR />\n d</p>", "a\nb\nc\nd"),
    "br twice is a blank line": ("<p>a<br><br>\n<br>b</p>", "a\n\nb"),
    "hr": ("<p>a</p><hr><p>b</p><hr />", "a\n\n---\n\nb\n\n---"),
    "headings": ("<h1>a</h1>\n<h3>b <em>c</em>\n d</h3><p>e</p>", "# a\n\n### b *c* d\n\ne"),
    "heading with its text in a paragraph": ("<h2><p>a</p></h2><p>b</p>", "## a\n\nb"),
    "empty heading": ("<h2></h2><p>b</p>", "b"),
    "entities": (
        "<p>&lt;b&gt; &amp;amp; &quot;q&quot; &#233;&#xE9;&hellip;</p>",
        '<b> &amp; "q" éé…',
    ),
    "text is not escaped": (
        r"<p>snake_case *x* 2\3 [a](b) # ! $a_{i} \\ *b*$</p>",
        r"snake_case *x* 2\3 [a](b) # ! $a_{i} \\ *b*$",
    ),
    "lone brackets": ("<p>1 < 2 and 3 > 2 <3</p>", "1 < 2 and 3 > 2 <3"),
    "carriage returns": ("<p>a\r\nb&#xD;&#xA;c&#13;\nd\re</p>", "a\nb\nc\nd\ne"),
    "characters written as two halves": (
        "<p>&#xD83D;&#xDE00; &#55357;&#56832; &#xd83d;&#56832; &#x0D83D;&#xDE00; "
        '<img alt="&#xD83D;&#xDE00;"></p>',
        "\U0001f600 \U0001f600 \U0001f600 \U0001f600 \U0001f600",
    ),
    "half a character": (
        "<p>&#xD83D; a &#xDE00;&#xD83D; &#56000;</p>",
        "\ufffd a \ufffd\ufffd \ufffd",
    ),
    "entity that begins like a carriage return": ("<p>&#131;&#xD8;</p>", "ƒØ"),
    "unknown tags": ("<p><foo>a</foo><span class='x'>b</span></p>", "ab"),
    "comments": ("<p>a<!-- x > y -->b</p><!-- c", "ab"),
    "short comment": ("a<!-->b", "ab"),
    "scripts and styles": ("a<script>if (1<2) x('<p>');</script><style>p {}</style>b", "ab"),
    "unclosed script": ("a<script>b <p>c", "a"),
    "upper case": ("<P>a <STRONG>b</STRONG></P>", "a **b**"),
    "number with too many digits": (f"<p>&#{'9' * 5000};</p>", "\ufffd"),
    # inline
    "emphasis": (
        "<em>a</em> <i>b</i> <strong>c</strong> <b>d</b> <s>e</s> <strike>f</strike> <del>g</del>",
        "*a* *b* **c** **d** ~~e~~ ~~f~~ ~~g~~",
    ),
    "nested emphasis": ("<p><em>a <strong>b</strong></em></p>", "*a **b***"),
    "same emphasis twice": ("<p><b><strong>a</strong> b</b> c</p>", "**a b** c"),
    "spaces at the edges of emphasis": ("<p>a<b> b </b>c<em>\nd\n</em>e</p>", "a **b** c\n*d*\ne"),
    "space before emphasis ends": ("<p>a<b>b </b>c</p>", "a**b** c"),
    "space after emphasis starts": ("<p>a<b> b</b>c</p>", "a **b**c"),
    "spaces at nested edges": ("<p>a<b> <code>b</code>c<i> </i><br></b>d</p>", "a **`b`c**\nd"),
    "empty emphasis": ("<p>a<b></b>b<em> </em>c<em><b></b></em></p>", "ab c"),
    "emphasis that is not closed": ("<p>a <b>b</p><p>c</b> d</p>", "a **b**\n\nc d"),
    "emphasis that ends in punctuation before a letter": (
        "<p><b>a:</b>b <i>(c)</i>d e<b>“f</b> <b>$</b>g</p>",
        "a:b (c)d e“f $g",
    ),
    "emphasis beside punctuation": (
        "<p>(<b>a</b>) “<i>b</i>”, <b>c!</b>. <b>(d)</b></p>",
        "(**a**) “*b*”, **c!**. **(d)**",
    ),
    "emphasis between letters without spaces": (
        "<p>日本<strong>語</strong>です<strong>「語」</strong>です、<b>「語」</b>。x<i>y</i>z</p>",
        "日本**語**です「語」です、**「語」**。x*y*z",
    ),
    "emphasis beside a backslash, a tilde or two other ends": (
        r"<p>\<b>a</b> <b>C:\</b> <b>C:\\</b> ~<s>b</s> <b>c<i>d</i></b><i>e</i></p>",
        r"\a C:\ **C:\\** ~b **c*d***e",
    ),
    "link whose text ends in a backslash": (
        r'<p><a href="https://x.y/z">C:\Users\</a></p>',
        r"[C:\Users\\](https://x.y/z)",
    ),
    "emphasis around code and links": (
        '<p>a<b><code>b</code></b>c <b><code>b</code></b> <i><a href="/d">d</a></i>e</p>',
        "a`b`c **`b`** [d](/d)e",
    ),
    "emphasis with an emoji at its edge": (
        "<p>a<b>\U0001f600</b>b <b>\U0001f600 c</b></p>",
        "a\U0001f600b **\U0001f600 c**",
    ),
    "emphasis over a blank line": ("<p><b>a<br><br>b</b> <i>c<br>d</i></p>", "a\n\nb *c\nd*"),
    "emphasis that goes on": (
        "<p><b>a</b><b>b</b><i>c</i><em>d</em> <b>e</b> <b>f</b></p>",
        "**ab***cd* **e** **f**",
    ),
    "emphasis in emphasis that does not work": ("<p><b>a<i>(b)</i>c</b></p>", "**a(b)c**"),
    "emphasis closed in the wrong order": ("<p><b>a <i>b</b> c</i></p>", "**a *b*** c"),
    "sup, sub, kbd": (
        "<p>x<sup>2</sup> H<sub>2</sub>O <kbd>Ctrl</kbd></p>",
        "x<sup>2</sup> H<sub>2</sub>O <kbd>Ctrl</kbd>",
    ),
    "links": (
        '<p><a href="http://a.b/?x=1&amp;y=2" rel="nofollow" title="t">a <b>b</b></a></p>',
        "[a **b**](http://a.b/?x=1&y=2)",
    ),
    "link whose text is its address": (
        '<a href="https://a.b/c?d&amp;e">https://a.b/c?d&amp;e</a>',
        "<https://a.b/c?d&e>",
    ),
    "relative link whose text is its address": ('<a href="/a">/a</a>', "[/a](/a)"),
    "link with an entity-like parameter": (
        '<a href="/a?b&copy=1&lt;">c</a>',
        "[c](</a?b&copy=1%3C>)",
    ),
    "link with parentheses": ('<a href="/A_(b)">a</a>', "[a](/A_(b))"),
    "link with unbalanced parentheses": (
        '<a href="/A_(b">a</a><a href="/)(">b</a>',
        "[a](</A_(b>)[b](</)(>)",
    ),
    "link with a space": ("<a href='/a b'>a</a>", "[a](</a b>)"),
    "link without quotes": ("<a class=x href=/a>a</a>", "[a](/a)"),
    "link in upper case": ('<A HREF="/a" HREF="/b">a</A>', "[a](/a)"),
    "link after a data attribute": ('<a data-href="/b" href="/a">a</a>', "[a](/a)"),
    "link whose title holds brackets": ('<a title="x > <y>" href="/a">a</a>', "[a](/a)"),
    "anchor": ('<a name="x">a</a> <a>b</a>', "a b"),
    "empty link": ('a<a href="/b"></a>c', "ac"),
    "link that runs a script": ('<a href=" JavaScript:x()">a</a>', "a"),
    "link after an exclamation mark": ('<p>So!<a href="/a">b</a></p>', "So\\![b](/a)"),
    "link without description": (
        '<a href="https://a.b/c">enter link description here</a> <a href="/d">Enter link '
        "description here</a>",
        "<https://a.b/c> [/d](/d)",
    ),
    "nested links": ('<a href="/a">a<a href="/b">b</a>c</a>', "[abc](/a)"),
    "images": (
        '<p><img src="https://i/x.png" alt="a\n&quot;b&quot;"><img alt="c"><img src="/y z"></p>',
        '![a "b"](https://i/x.png)c![](</y z>)',
    ),
    "image without description": (
        '<img src="/a" alt="enter image description here"><img src="/b" alt="Image">',
        "![](/a)![](/b)",
    ),
    "image as data": ('<img src="data:image/png;base64,AA" alt="a">', "a"),
    "image in a link": ('<a href="/a"><img src="/b" alt="c"></a>', "[![c](/b)](/a)"),
    # code
    "code spans": ("<p><code>a_b</code> <code>&lt;b&gt;&amp;amp;</code></p>", "`a_b` `<b>&amp;`"),
    "code spans side by side": ("<code>a</code><code>b`</code> <code>c</code>", "`` ab` `` `c`"),
    "code span with backticks": (
        "<p><code>a`b``c</code> <code>`</code> <code>x `y`</code></p>",
        "```a`b``c``` `` ` `` `` x `y` ``",
    ),
    "code span with spaces": (
        "<p><code> a</code> <code> a </code> <code> </code></p>",
        "` a` `  a  ` ` `",
    ),
    "code span with line breaks": ("<p><code>\na\n  b<br>c</code></p>", "`a b c`"),
    "empty code span": ("<p>a<code></code>b</p>", "ab"),
    "tags in a code span": ("<p><code>a<b>b</b></code> <b>c</b></p>", "`ab` **c**"),
    "code span that is not closed": ("<p><code>a</p><p><b>b</b></p>", "`a`\n\n**b**"),
    "code block": (
        "<p>a</p>\n\n<pre><code>  b &lt; c  \n\n\n\td \n</code></pre>\n\n<p>e</p>",
        "a\n\n```\n  b < c  \n\n\n\td \n```\n\ne",
    ),
    "code block without code": ("<pre>\n\na\n</pre>", "```\n\na\n```"),
    "code block without last line break": ("<pre><code>\na</code></pre>", "```\n\na\n```"),
    "code block with its own blank end": ("<pre><code>a\n\n</code></pre>", "```\na\n\n```"),
    "code block with fences": ("<pre><code>```\n````x\n</code></pre>", "`````\n```\n````x\n`````"),
    "code block with marked-up code": (
        '<pre><code><span class="k">a</span> <b>b</b><br>c<p>d</code></pre>e',
        "```\na b\ncd\n```\n\ne",
    ),
    "empty code block": ("<p>a</p><pre><code> \n</code></pre><p>b</p>", "a\n\nb"),
    "code block that is not closed": ("<pre><code>a\n<p>b", "```\na\nb\n```"),
    "language by lang-": (
        '<pre class="lang-py prettyprint-override"><code>a\n</code></pre>',
        "```py\na\n```",
    ),
    "language by language-": (
        '<pre><code class="hljs language-c++">a\n</code></pre>',
        "```c++\na\n```",
    ),
    "language none": ('<pre class="lang-none"><code>a\n</code></pre>', "```\na\n```"),
    "no language in another word": ('<pre class="slang-x"><code>a\n</code></pre>', "```\na\n```"),
    "language by comment": (
        "<!-- language: lang-js -->\n\n<pre><code>a\n</code></pre><pre><code>b\n</code></pre>",
        "```js\na\n```\n\n```\nb\n```",
    ),
    "language by comment for all": (
        '<!-- language-all: sql --><pre>a</pre><pre class="lang-c">b</pre><pre>c</pre>',
        "```sql\na\n```\n\n```c\nb\n```\n\n```sql\nc\n```",
    ),
    "snippet": (
        '<div class="snippet" data-lang="js">\r\n<div class="snippet-code">\r\n'
        '<pre class="snippet-code-js lang-js prettyprint-override"><code>a();\r\n</code></pre>\r\n'
        '<pre class="snippet-code-html lang-html prettyprint-override"><code>&lt;b&gt;\r\n'
        "</code></pre>\r\n</div>\r\n</div>\r\n",
        "```js\na();\n```\n\n```html\n<b>\n```",
    ),
    # lists
    "lists": (
        "<ul>\n<li>a</li>\n<li>b</li>\n</ul>\n<p>c</p><ol><li>d</li><li>e</li></ol>",
        "- a\n- b\n\nc\n\n1. d\n2. e",
    ),
    "loose list": ("<ul><li><p>a</p></li><li><p>b</p><p>c</p></li></ul>", "- a\n\n- b\n\n  c"),
    "nested lists": (
        "<p>x</p><ul><li>a\n<ol><li>b</li><li>c<ul><li>d</li></ul></li></ol></li><li>e</li></ul><p>y</p>",
        "x\n\n- a\n  1. b\n  2. c\n     - d\n- e\n\ny",
    ),
    "loose list in a list": (
        "<ul><li>a<ul><li><p>b</p></li></ul></li><li>c</li></ul>",
        "- a\n\n  - b\n\n- c",
    ),
    "text after a nested list": ("<ul><li>a<ul><li>b</li></ul>c</li></ul>", "- a\n  - b\n\n  c"),
    "list right in a list": (
        "<ul><li>a</li><ul>\n<li>b</li></ul>\n<ol><li>c</li></ol><li>d</li></ul><p>e</p>",
        "- a\n  - b\n  1. c\n- d\n\ne",
    ),
    "lists right in lists": (
        '<ol start="9"><li>a</li><li>b</li><ol><li>c</li><ul><li>d</li></ul></ol><li>e</li></ol>',
        "9. a\n10. b\n    1. c\n       - d\n11. e",
    ),
    "list right in a list with code": (
        "<blockquote><ol><li>a</li><ul><li>b<pre>x\ny</pre></li></ul></ol></blockquote>",
        "> 1. a\n>    - b\n>\n>      ```\n>      x\n>      y\n>      ```",
    ),
    "list right in a list without items": (
        "<ul><ul><li>a</li></ul><li></li><ul><li>b</li></ul></ul>",
        "- a\n\n- b",
    ),
    "list after a paragraph right in a list": (
        "<ol><li>a</li><p>b</p><ul><li>c</li></ul></ol>",
        "1. a\n\nb\n\n- c",
    ),
    "list start": ('<ol start="9"><li>a</li><li>b<br>c</li></ol>', "9. a\n10. b\n    c"),
    "list starts that Markdown has not": (
        '<ol start="-1"><li>a</ol><ol start="1234567890"><li>b</ol><ol start=""><li>c</ol>',
        "1. a\n\n1. b\n\n1. c",
    ),
    "item without text": ("<ul><li>a</li><li></li><li><ul><li>b</li></ul></li></ul>", "- a\n- - b"),
    "items that are not closed": ("<ul><li>a<li>b</ul>c", "- a\n- b\n\nc"),
    "items without list": ("<li>a<li>b", "- a\n- b"),
    "code block in an item": (
        "<ol><li><p>a</p>\n<pre><code>b\n\n  c \n</code></pre></li>"
        "<li><pre><code>d\n</code></pre></li></ol>",
        "1. a\n\n   ```\n   b\n\n     c \n   ```\n\n2. ```\n   d\n   ```",
    ),
    "rule in an item": ("<ul><li><hr>a</li></ul>", "- ***\n\n  a"),
    # quotes
    "quote": (
        "<blockquote>\n  <p>a\n  b</p>\n  \n  <p>c</p>\n</blockquote>\n<p>d</p>",
        "> a\n> b\n>\n> c\n\nd",
    ),
    "nested quotes": (
        "<blockquote><p>a</p><blockquote>b</blockquote>c</blockquote><blockquote>d</blockquote>",
        "> a\n>\n> > b\n>\n> c\n\n> d",
    ),
    "spoiler": (
        '<blockquote class="spoiler"><p>a</p><p>b</p></blockquote>',
        ">! a\n>!\n>! b",
    ),
    "quoted code and list": (
        "<blockquote><pre><code>a\n\nb\n</code></pre><ul><li>c</li><li>d</li></ul></blockquote>",
        "> ```\n> a\n>\n> b\n> ```\n>\n> - c\n> - d",
    ),
    "quote in an item": (
        "<ul><li><blockquote><p>a</p></blockquote></li><li>b</li></ul>",
        "- > a\n\n- b",
    ),
    "closing tags without opening ones": ("</ul></blockquote></li></b></a></table>a</p>", "a"),
    # tables
    "table": (
        '<p>x</p><div class="s-table-container"><table class="s-table">\n<thead>\n<tr>\n'
        '<th style="text-align: left;">A</th>\n<th style="text-align: right;">B</th>\n'
        '<th align="center">C</th>\n<th>D</th>\n</tr>\n</thead>\n<tbody>\n<tr>\n<td>1</td>\n'
        "<td><code>a|b</code></td>\n<td></td>\n<td>x<br>\ny <b>z</td>\n</tr>\n</tbody>\n</table>"
        "</div>\ny",
        "x\n\n| A | B | C | D |\n| :--- | ---: | :---: | --- |\n"
        "| 1 | `a\\|b` |  | x<br> y **z** |\n\ny",
    ),
    "table with pipes and backslashes": (
        "<table><tr><td>a|b\\|c\\\\|d\\</td><td>"
        "<code>e\\|f|</code><code>|</code> $\\|g\\|$</td></tr></table>",
        "| a\\|b\\\\\\|c\\\\\\\\\\|d\\ | `e\\\\|f\\|\\|` $\\\\\\|g\\\\\\|$ |\n| --- | --- |",
    ),
    "table with a short header": (
        "<table><tr><td>a</td></tr><tr><td align='right'>b</td><td>c</td></tr></table>",
        "| a |  |\n| --- | --- |\n| b | c |",
    ),
    "table with an empty header": (
        "<table><tr><th></th></tr><tr><td>a</td></tr></table>",
        "|  |\n| --- |\n| a |",
    ),
    "table with blocks in a cell": (
        "<table><caption>t</caption><tr><td><ul><li>a</li><li>b</li></ul><pre>c\nd</pre></td></tr></table>",
        "t\n\n| a  b  `c d` |\n| --- |",
    ),
    "table that is not closed": ("<table><tr><td>a<td>b", "| a | b |\n| --- | --- |"),
    "texts after a cell": (
        "<table><tr><td>a</td>b</td><td></td><td></td>c</td></tr></table>",
        "| a b |  | c |\n| --- | --- | --- |",
    ),
    "empty table": ("a<table><tr><td></td></tr></table>b", "a\n\nb"),
    "table in an item": (
        "<ul><li><table><tr><th>a</th></tr><tr><td>b</td></tr></table></li></ul>",
        "- | a |\n  | --- |\n  | b |",
    ),
}


@pytest.mark.parametrize(("html", "markdown"), GOLDEN.values(), ids=GOLDEN.keys())
def test_golden(html: str, markdown: str) -> None:
    assert html_to_markdown(html) == markdown


PAGE = "https://q.example/questions/12"
LINKS = {
    "path": ("/questions/1?a#b", "https://q.example/questions/1?a#b"),
    "other host": ("//r.example/x", "https://r.example/x"),
    "folder above": ("../x", "https://q.example/x"),
    "beside": ("x/./y", "https://q.example/questions/x/y"),
    "query": ("?tab=votes", "https://q.example/questions/12?tab=votes"),
    "anchor": ("#edit", "https://q.example/questions/12#edit"),
    "host without scheme": ("www.r.example/x", "http://www.r.example/x"),
    "spaces": (" /x\n", "https://q.example/x"),
    "absolute": ("http://r.example/../x", "http://r.example/../x"),
    "other schemes": ("mailto:a@r.example", "mailto:a@r.example"),
    "no address": ("//[x", "//[x"),
}


@pytest.mark.parametrize(("target", "address"), LINKS.values(), ids=LINKS.keys())
def test_links_and_images_are_absolute(target: str, address: str) -> None:
    assert html_to_markdown(f'<a href="{target}">a</a>', PAGE) == f"[a]({address})"
    assert html_to_markdown(f'<img src="{target}" alt="a">', PAGE) == f"![a]({address})"


def test_links_of_a_post_without_address_stay() -> None:
    html = '<a href="/x">a</a> <a href="#y">b</a> <a href="//r.example/z">c</a>'
    assert html_to_markdown(html) == "[a](/x) [b](#y) [c](https://r.example/z)"


def test_links_in_markdown_are_absolute_outside_code() -> None:
    text = (
        '[a](/r/b) ![c](/d.png "t") [e](</f g>) [h](//i.example) [j](https://k.example) (/l)\n'
        "`[m](/n)` ``[m](/n) ` `` [o](../p_(q))\n\n"
        "```\n[r](/s)\n```\n\n    [r](/s)\n\n> ~~~\n> [r](/s)\n> ~~~\n\n[t]: /u 'v'\n[w](/x)"
    )
    assert absolute_links(text, PAGE) == (
        '[a](https://q.example/r/b) ![c](https://q.example/d.png "t") '
        "[e](<https://q.example/f g>) [h](https://i.example) [j](https://k.example) (/l)\n"
        "`[m](/n)` ``[m](/n) ` `` [o](https://q.example/p_(q))\n\n"
        "```\n[r](/s)\n```\n\n    [r](/s)\n\n> ~~~\n> [r](/s)\n> ~~~\n\n"
        "[t]: https://q.example/u 'v'\n[w](https://q.example/x)"
    )
    assert absolute_links(text, "") == text


@pytest.mark.parametrize(
    "text", ["- x\n    - [a]({}y)", "1. x\n\t2) [a]({}y)", "[a]( {}y)", "> [a][1]\n>\n> [1]: {}y"]
)
def test_links_in_lists_and_quotes_in_markdown_are_absolute(text: str) -> None:
    made = absolute_links(text.format("/"), "https://x.y/z")
    assert made == text.format("https://x.y/")


@pytest.mark.parametrize(
    ("markup", "text"), [("html", '<a href="/x">a</a>'), ("markdown", "[a](/x)")]
)
def test_links_of_a_post_are_relative_to_its_address(markup: str, text: str) -> None:
    post = response(1, text=text, markup=markup, url=PAGE)
    assert post_to_markdown(post).text == "[a](https://q.example/x)"


@pytest.mark.parametrize("piece", ["`", "```\n", "](", "[a]: ", "](/", " ", "> ", "~~~"])
def test_links_in_markdown_take_linear_time(piece: str) -> None:
    absolute_links(piece * 50_000 + "](/", PAGE)


N = 100_000
HOSTILE = {
    "quotes": ("<blockquote>" * N + "x", "> " * (MAX_INDENT // 2) + "x"),
    "lists": ("<ul><li>" * N + "x", "- " * (MAX_INDENT // 2) + "x"),
    "lists right in lists": ("<ul><li>x</li>" * N, None),
    "marks": ("<b><i>" * N + "x", "***x***"),
    "marks that do not work": ("x<b>(x)</b>x<i>y</i>" * (N // 5), "x(x)x*y*" * (N // 5)),
    "marks in marks that do not work": ("x<b>(<i>" * 1000 + ")</i>)</b>x" * 1000, None),
    "marks that go on": ("<b>a</b>" * (N // 5), "**" + "a" * (N // 5) + "**"),
    "code spans side by side": ("<code>a</code>" * N, "`" + "a" * N + "`"),
    "empty links": ("x" + '<a href="/a"><b></b></a>' * N, "x"),
    "mark pairs": ("<b>" + " <i> </i>" * N + "</b>x", None),
    "code spans": ("<code>" * N + "x", "`x`"),
    "code blocks": ("<pre>" * N + "x", "```\nx\n```"),
    "links": ('<a href="u">' * N + "x", "[x](u)"),
    "tables": ("<table>" * N + "x", "x"),
    "wide and long table": (
        "<table>" + "<td>x" * N + "<tr><td>y" * N,
        None,
    ),
    "texts in one cell": (
        "<table><tr><td>" + ("a" * 100 + "</td>") * N,
        "| " + " ".join(["a" * 100] * N) + " |\n| --- |",
    ),
    "closing tags": ("<li>" * 1000 + "</p></ul></blockquote>" * N + "x", None),
    "open tags": ("<" * N, "<" * N),
    "open tags with names": ("<a" * N, "<a" * N),
    "unclosed comments": ("x" + "<!--" * N, "x"),
    "unclosed quotes": ('<a "' * N, '<a "' * N),
    "quotes in tags": ("<a \"' <b '\"" * N, None),
    "huge attribute": ('<a title="' + "x" * 100 * N + '">y</a>', "y"),
    "huge tag": ("<p " + "x" * 10 * N + ">y", "y"),
    "many attributes": ("<p " + "x = 'y' " * N + ">z", "z"),
    "many attributes without quotes": ("<a " + "x= " * N + ">z</a>", "z"),
    "spaces": ("<h1>a" + " " * 10 * N + "b</h1>", "# a" + " " * 10 * N + "b"),
    "spaces and line breaks": ("<p>a" + (" " * 100 + "\n") * 1000 + "b</p>", "a\n\nb"),
    "digits": ("&#" + "9" * 10 * N + ";", "\ufffd"),
    "zeros": ("&#" + "0" * 10 * N + "13", None),
    "ampersands": ("&" * N, "&" * N),
    "parentheses": ('<a href="' + "(" * N + '">x</a>', "[x](<" + "(" * N + ">)"),
}


@pytest.mark.parametrize(("html", "markdown"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_input_takes_linear_time(html: str, markdown: str | None) -> None:
    """A quadratic step makes these cases take hours, and recursion makes them fail."""
    result = html_to_markdown(html)
    assert len(result) < (MAX_INDENT + 2) * len(html)
    if markdown is not None:
        assert result == markdown


# Property tests: CommonMark is the judge of what survives.

COMMONMARK = MarkdownIt("commonmark").enable("table")
EMPHASIS_READER = MarkdownIt("commonmark").enable("strikethrough")
# NUL is replaced by any CommonMark reader, and carriage returns by us.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=60)
CODE = st.one_of(
    TEXT, st.text("`~ \n\ta<&>-*#1.|", max_size=30), st.lists(TEXT, max_size=4).map("\n".join)
)
INLINE_WORDS = st.sampled_from(["a", "1.", "# b", "- c", "$x_1$", "<b>d</b>", "<code>`</code>"])
CONTAINERS = st.lists(st.sampled_from(["ul", "ol", "blockquote"]), max_size=4)
TAGS = (
    *("p", "em", "b", "s", "sup", "a", "code", "pre", "ul", "ol", "li", "blockquote", "br", "hr"),
    *("h2", "table", "tr", "td", "th", "img", "div", "script"),
)
SOUP = st.lists(
    st.one_of(
        st.sampled_from(TAGS).flatmap(
            lambda name: st.sampled_from([f"<{name}>", f"</{name}>", f"<{name.upper()} "])
        ),
        st.sampled_from(['<a href="u">', "<a href='", '"', "<!--", "-->", "<", ">", "&", "&#13;"]),
        st.sampled_from(["\r\n", "\n", " ", "\t", "x", "\xa0", "`", "|", "&nbsp;", "\\"]),
        TEXT,
    ),
    max_size=25,
).map("".join)


def nested(inner: str, containers: list[str], words: str) -> str:
    for name in containers:
        item = ("<li>", "</li>") if name in ("ul", "ol") else ("", "")
        inner = f"<{name}>{item[0]}<p>{words}</p>{inner}{item[1]}</{name}>"
    return inner


@given(CODE, CONTAINERS, INLINE_WORDS, st.sampled_from(["py", "c++", "none", ""]))
def test_code_blocks_survive(code: str, containers: list[str], words: str, language: str) -> None:
    tag = f'<pre class="lang-{language} prettyprint-override">' if language else "<pre>"
    html = nested(f"{tag}<code>{entities.escape(code)}\n</code></pre>", containers, words)
    markdown = html_to_markdown(html)
    fences = [token for token in COMMONMARK.parse(markdown) if token.type == "fence"]
    if code.strip():
        assert [fence.content for fence in fences] == [code + "\n"]
        assert fences[0].info == ("" if language == "none" else language)
    else:
        assert fences == []


@given(CODE)
def test_code_spans_survive(code: str) -> None:
    markdown = html_to_markdown(f"<p>a <code>{entities.escape(code)}</code> b</p>")
    inline = COMMONMARK.parse(markdown)[1].children or []
    spans = [token.content for token in inline if token.type == "code_inline"]
    expected = " ".join(filter(None, map(str.strip, code.split("\n")))) if "\n" in code else code
    assert spans == ([expected] if expected else [])


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=80))
def test_plain_text_is_kept_as_it_is(text: str) -> None:
    text = text.strip()
    assert html_to_markdown(f"<p>{entities.escape(text)}</p>\n") == text


TEX = st.text(st.sampled_from(r"\_^{}*&<>[]()|#%~`'-+=ax12 "), min_size=1)


@given(TEX, st.sampled_from([("$", "$"), ("$$", "$$"), (r"\(", r"\)"), (r"\begin{a}", r"\end{a}")]))
def test_formulas_survive(tex: str, marks: tuple[str, str]) -> None:
    formula = marks[0] + tex + marks[1]
    html = f"<ul><li>a {entities.escape(formula)} b</li></ul><p>{entities.escape(formula)}</p>"
    assert html_to_markdown(html) == f"- a {formula} b\n\n{formula}"


@given(SOUP)
def test_any_html_is_converted_cleanly(html: str) -> None:
    markdown = html_to_markdown(html)
    assert markdown == html_to_markdown(html)
    assert "\r" not in markdown
    if "pre" not in html.lower() and "`" not in markdown:
        assert "\n\n\n" not in markdown
        assert not re.search(r"[ \t]$", markdown, re.MULTILINE)
        assert markdown == markdown.strip("\n")


EDGES = [
    "日本",
    "「語」",
    "です",
    "word",
    " ",
    "(x)",
    ".",
    "“q”",
    "—",
    "😀",
    "$",
    ",",
    "и",
    "한",
    "7%",
    "\n",
]
EMPHASIS = {"b": "strong", "strong": "strong", "i": "em", "em": "em", "s": "s", "del": "s"}


class Emphasised(HTMLParser):
    """Characters of HTML that are not space, each with the emphasis that it has."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, frozenset[str]]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in EMPHASIS:
            self.open.append(EMPHASIS[tag])

    def handle_endtag(self, tag: str) -> None:
        if tag in EMPHASIS:
            self.open.remove(EMPHASIS[tag])

    def handle_data(self, data: str) -> None:
        self.found += [(c, frozenset(self.open)) for c in data if not c.isspace()]


def emphasised(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    tags = st.sampled_from(list(EMPHASIS))
    marked = st.tuples(tags, inner).map(lambda drawn: f"<{drawn[0]}>{drawn[1]}</{drawn[0]}>")
    plain = st.sampled_from(EDGES)
    return st.tuples(plain, marked, plain, st.one_of(plain, marked)).map("".join)


@given(emphasised(st.one_of(st.sampled_from(EDGES), emphasised(st.sampled_from(EDGES)))))
def test_emphasis_is_read_as_written_or_has_no_marks(html: str) -> None:
    rendered = EMPHASIS_READER.render(html_to_markdown(f"<p>x {html}</p>"))
    written, read = Emphasised(f"<p>x {html}</p>").found, Emphasised(rendered).found
    assert [character for character, _ in read] == [character for character, _ in written]
    for (_, before), (_, after) in zip(written, read, strict=True):
        assert after <= before


@given(st.lists(st.text("ab|\\ ", max_size=5), min_size=1, max_size=4), st.booleans())
def test_text_and_code_in_cells_survive(cells: list[str], code: bool) -> None:
    cells = ["x" + cell.strip() for cell in cells]
    tags = ("<code>", "</code>") if code else ("", "")
    html = "".join(f"<td>{tags[0]}{cell}{tags[1]}</td>" for cell in cells)
    tokens = COMMONMARK.parse(html_to_markdown(f"<table><tr>{html}</tr></table>"))
    inline = [token.children or [] for token in tokens if token.type == "inline"]
    read = ["".join(child.content for child in children) for children in inline]
    # Two backslashes are one in any Markdown, and text is not escaped.
    escaped = [cell if code else re.sub(r"(\\+)(?=\\|)|\\\\", r"\1", cell) for cell in cells]
    expected = escaped if code else [re.sub(r"\\\\", r"\\", cell) for cell in escaped]
    if code or not any("\\\\" in cell for cell in cells):
        assert read == expected


@given(st.text(max_size=200))
def test_any_text_is_converted(text: str) -> None:
    assert "\r" not in html_to_markdown(text)


@needs_dumps
@pytest.mark.parametrize("site", ["ai.stackexchange.com", "datascience.meta.stackexchange.com"])
def test_code_of_real_posts_survives(site: str) -> None:
    seen = 0
    for _, row in ET.iterparse(DUMPS / site / "Posts.xml"):
        body = row.get("Body", "").replace("\r\n", "\n")
        row.clear()
        code = [
            entities.unescape(block)
            for block in re.findall(r"<pre[^>]*><code>(.*?)</code>", body, re.S)
        ]
        if any(code):
            seen += 1
            tokens = COMMONMARK.parse(html_to_markdown(body))
            assert [token.content for token in tokens if token.type == "fence"] == code
    assert seen > 10
