// How the page of a comparison looks.
#pragma once

namespace nigiri::app {

inline constexpr const char* report_style = R"css(
:root { color-scheme: light dark; --paper: #fbfaf7; --ink: #22201c; --soft: #6b665d; --line: #e2ddd2; --card: #ffffff;
  --accent: #b0442c; --best: #f6e3cf; }
@media (prefers-color-scheme: dark) { :root { --paper: #17161a; --ink: #ece8e1; --soft: #a49e94; --line: #35323a;
  --card: #201f25; --accent: #f0986f; --best: #45302a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI",
  Roboto, "Noto Sans", sans-serif; overflow-wrap: anywhere; }
header, main, footer { max-width: 68rem; margin: 0 auto; padding: 0 1.1rem; }
header { padding-top: 2.4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .5rem; font-weight: 650; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 .7rem; font-weight: 650; }
h3 { font-size: 1.02rem; margin: 0 0 .15rem; font-weight: 650; }
p { margin: .5rem 0; max-width: 46rem; }
.soft, small { color: var(--soft); }
small { font-size: .82rem; line-height: 1.4; }
.notes { border-left: 4px solid var(--accent); background: var(--card); padding: .5rem 1rem; margin: 1rem 0;
  border-radius: 0 .5rem .5rem 0; }
.notes ul { margin: .2rem 0; padding-left: 1.1rem; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: .7rem; background: var(--card); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .5rem .8rem; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; }
thead th { color: var(--soft); font-size: .88rem; min-width: 6.2rem; max-width: 14rem; overflow-wrap: anywhere; }
tbody th { text-align: left; font-weight: 500; min-width: 9rem; position: sticky; left: 0; background: var(--card); }
tbody tr:last-child th, tbody tr:last-child td { border-bottom: 0; }
tbody th small { display: block; font-weight: 400; }
td { white-space: nowrap; }
td.best { font-weight: 700; background: var(--best); }
td.floor { color: var(--soft); }
.switch { display: inline-block; margin: .8rem 0; padding: .5rem 1rem; border: 1px solid var(--line);
  border-radius: 2rem; background: var(--card); cursor: pointer; }
.switch::before { content: ""; display: inline-block; width: .95rem; height: .95rem; margin-right: .55rem;
  border: 2px solid var(--soft); border-radius: .25rem; vertical-align: -.15rem; }
#reveal { position: absolute; opacity: 0; }
#reveal:checked + .switch::before { background: var(--accent); border-color: var(--accent); }
#reveal:focus-visible + .switch { outline: 2px solid var(--accent); outline-offset: 2px; }
.who { display: none; }
#reveal:checked ~ .clips .who { display: inline; }
.clip { margin: 1.1rem 0 1.8rem; }
.sounds { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); gap: .8rem;
  margin-top: .5rem; }
figure { margin: 0; padding: .6rem; background: var(--card); border: 1px solid var(--line); border-radius: .7rem; }
figcaption { min-height: 1.6rem; padding: 0 .2rem .35rem; }
figcaption b { display: inline-block; min-width: 1.6rem; color: var(--accent); }
figure img { display: block; width: 100%; height: 6.2rem; border-radius: .4rem; object-fit: fill; }
audio { display: block; width: 100%; height: 2.6rem; margin-top: .5rem; }
dl { max-width: 46rem; }
dt { font-weight: 600; margin-top: .7rem; }
dd { margin: .1rem 0 0; color: var(--soft); }
details > summary { cursor: pointer; color: var(--accent); margin: .8rem 0; }
footer { padding-top: 2rem; padding-bottom: 3rem; color: var(--soft); font-size: .88rem; }
@media (max-width: 34rem) { body { font-size: 15px; } h1 { font-size: 1.5rem; } th, td { padding: .45rem .55rem; }
  tbody th { min-width: 7.5rem; max-width: 46vw; } tbody th small { display: none; } }
@media print { audio, .switch { display: none; } .who { display: inline; } }
)css";

}  // namespace nigiri::app
