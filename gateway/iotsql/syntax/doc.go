// Package syntax reads the text of rule SQL into trees (rules.md section 2): a
// lexer, a Pratt parser, and the parts of substitution templates.
//
// It knows grammar and versions, not functions and variables; those are
// checked by who compiles the trees. Every refusal is an *Error with line,
// column, token and what was expected. Limits: 256 KiB of text, 200 levels of
// nesting, 5000 operators in a row. Pure: nothing blocks, nothing is kept.
package syntax
