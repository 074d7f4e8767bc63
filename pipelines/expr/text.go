package expr

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

func concat(_ *machine, s selection, a, b, out *vector) error {
	for _, i := range s.rows {
		off := len(out.buf)
		out.buf = append(append(out.buf, a.at(i)...), b.at(i)...)
		out.put(i, off)
	}
	return nil
}

// contains is needle in text: a is the needle.
func contains(_ *machine, s selection, a, b, out *vector) error {
	for _, i := range s.rows {
		out.bools[i] = bytes.Contains(b.at(i), a.at(i))
	}
	return nil
}

func startsWith(_ *machine, s selection, a, b, out *vector) error {
	for _, i := range s.rows {
		out.bools[i] = bytes.HasPrefix(a.at(i), b.at(i))
	}
	return nil
}

func endsWith(_ *machine, s selection, a, b, out *vector) error {
	for _, i := range s.rows {
		out.bools[i] = bytes.HasSuffix(a.at(i), b.at(i))
	}
	return nil
}

// lenString counts characters, as Python does.
func lenString(_ *machine, s selection, a, _, out *vector) error {
	for _, i := range s.rows {
		out.ints[i] = int64(utf8.RuneCount(a.at(i)))
	}
	return nil
}

func lenBytes(_ *machine, s selection, a, _, out *vector) error {
	for _, i := range s.rows {
		out.ints[i] = int64(a.spans[i].Len)
	}
	return nil
}

func mapRunes(to func(rune) rune) kernel {
	var ascii [utf8.RuneSelf]byte
	for c := range ascii {
		ascii[c] = byte(to(rune(c)))
	}
	return func(_ *machine, s selection, a, _, out *vector) error {
		for _, i := range s.rows {
			off := len(out.buf)
			for v := a.at(i); len(v) > 0; {
				if v[0] < utf8.RuneSelf {
					out.buf = append(out.buf, ascii[v[0]])
					v = v[1:]
					continue
				}
				r, n := utf8.DecodeRune(v)
				if r == utf8.RuneError && n == 1 {
					out.buf = append(out.buf, v[0]) // not UTF-8: kept as it is
				} else {
					out.buf = utf8.AppendRune(out.buf, to(r))
				}
				v = v[n:]
			}
			out.put(i, off)
		}
		return nil
	}
}

// isSpace is Python's str.isspace, which knows four control characters that Go's does not.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

// strip cuts at the chosen ends; set is the characters to cut, or nil for white space.
func strip(left, right bool, set map[rune]bool) kernel {
	cut := isSpace
	if set != nil {
		cut = func(r rune) bool { return set[r] }
	}
	return func(_ *machine, s selection, a, _, out *vector) error {
		for _, i := range s.rows {
			v := a.at(i)
			if left {
				v = bytes.TrimLeftFunc(v, cut)
			}
			if right {
				v = bytes.TrimRightFunc(v, cut)
			}
			off := len(out.buf)
			out.buf = append(out.buf, v...)
			out.put(i, off)
		}
		return nil
	}
}
