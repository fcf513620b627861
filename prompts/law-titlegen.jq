# A title for a legal question: the wording of NVIDIA's law-titlegen tutorial.
# Its blank after "TITLE:" is left out: with it some tokenizers split the title's first word in a way they never see.
{
  input: (
    "Generate a concise, engaging title for the following legal question on an internet forum. "
    + "The title should be legally relevant, capture key aspects of the issue, and entice readers to learn more. "
    + "\nQUESTION: \(.question) \nTITLE:"
  ),
  output: .title
}
