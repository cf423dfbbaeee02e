package planfile_test

import (
	"fmt"

	"polder.dev/polder/planfile"
)

func ExampleParse() {
	_, err := planfile.Parse([]byte(`
roles:
  shop:     {guarantee: {cpu: 16}}
  shop/web: {guarantee: {cpu: 12}}
  shop/etl: {guarantee: {cpu: 8}, lendGrace: 1m}
`))
	fmt.Println(err)
	// Output:
	// line 3: roles.shop.guarantee.cpu: guarantees of the children of shop add up to cpu=20, more than its own cpu=16: raise the guarantee of shop or lower shop/web (12), shop/etl (8)
}
