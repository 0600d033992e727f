"""Texts that try to be more than texts where they are shown."""

from __future__ import annotations

from hypothesis import strategies as st

RUNS = "document.documentElement.setAttribute('data-ran','1')"
"""What a browser does when a page lets it: the mark is seen in what the browser has made of the page."""
MARKUP = [
    f"<img src=x onerror={RUNS}>",
    f'<img src=x onerror="{RUNS}">',
    f"<script>{RUNS}</script>",
    f"</script><script>{RUNS}</script>",
    f"<scr<script></script>ipt>{RUNS}</scr<script></script>ipt>",
    f"</style><script>{RUNS}</script>",
    f"</title><script>{RUNS}</script>",
    f"--><script>{RUNS}</script><!--",
    f"<svg onload={RUNS}>",
    f"<svg><script>{RUNS}</script></svg>",
    f"<math><mtext></mtext><mglyph><style><img src=x onerror={RUNS}></style></mglyph></math>",
    f'" onmouseover="{RUNS}" autofocus onfocus="{RUNS}',
    f"' onmouseover='{RUNS}' autofocus onfocus='{RUNS}",
    f"<iframe srcdoc='<script>parent.{RUNS}</script>'></iframe>",
    f"<body onload={RUNS}>",
    f"<details open ontoggle={RUNS}>",
    f"<input autofocus onfocus={RUNS}>",
    f"<a href=javascript:{RUNS}>x</a>",
    "<meta http-equiv=refresh content='0;url=data:text/html,x'>",
    "<base href=//evil.example/>",
    "<style>*{display:none}</style>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "{{ 7 * 7 }}{% raw %}",
    "${7*7}",
    "&lt;b&gt;&amp;amp;",
    "]]>",
    "\u202egnp.exe\u202c",
    "a\x00b\x1b[31mred\x07",
    "\ufeff\u200b\u2066x\u2069",
    "\ud7ff\U0001f642é",
    "line\nbreak\r\ttab",
]
texts = st.one_of(
    st.sampled_from(MARKUP),
    st.lists(st.sampled_from([*MARKUP, "<", ">", "&", '"', "'", "`", "\x00", "\u202e", "x"]), max_size=4).map("".join),
    st.text(max_size=40),
)
