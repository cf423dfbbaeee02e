// Package piece puts JSON documents of many parts together out of pieces that are made once and used until something in them changes.
//
// A [List] is a list of a document, such as the tasks of a framework: it knows the text of each of its items, and makes again only what was
// said to have changed. A [Text] writes an object around such lists without copying them.
//
// It is no general encoder of JSON, and knows nothing of what it writes. A List and its shelves are for one goroutine at a time; the pieces
// they give out are never written to again, so anybody may read them for as long as they like.
package piece
