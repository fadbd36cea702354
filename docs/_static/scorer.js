// Sphinx's own scores, but a title with more of the query's words comes first, and decisions and the
// history come after pages for users.
var Scorer = {
  score: ([page, title, anchor, description, score]) => {
    const query = new URLSearchParams(window.location.search).get("q") ?? "";
    const words = query.toLowerCase().split(/\s+/).filter((word) => word.length > 2);
    const named = words.filter((word) => title.toLowerCase().includes(word.replace(/s$/, "")));
    const late = /^(docs\/adr\/|CHANGELOG$|docs\/architecture$)/.test(page);
    return score + 5 * named.length - (late ? 20 : 0);
  },
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
