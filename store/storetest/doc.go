// Package storetest is the suite every [store.Store] passes. It is test code; nothing but tests imports it.
package storetest
