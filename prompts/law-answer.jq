# A first answer to a legal question: the best answer's first sentence, at most 40 words of it.
{
  input: (
    "Answer the following legal question from an internet forum in one short sentence. "
    + "\nQUESTION: \(.question) \nANSWER:"
  ),
  # A sentence of fewer than 20 characters ("It depends.") says nothing: then the next one belongs to it.
  # The full stop after a single letter ("U.S.", "v.") ends none.
  output: (
    .answer
    | [match("^.{20,}?(?<![.\\s][A-Za-z])[.?!](?=\\s|$)").string] + [.]
    | first
    | split(" ")[:40]
    | join(" ")
  )
}
