// Command main reads the exports with parquet-go: main INDEX
package main

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/parquet-go/parquet-go"
)

type column struct {
	Type   string    `json:"type"`
	Values []*string `json:"values"`
}

type table struct {
	Files   []string          `json:"files"`
	Columns map[string]column `json:"columns"`
}

type index struct {
	Tables  map[string]table  `json:"tables"`
	Answers map[string]string `json:"answers"`
}

var compared = []string{"every_type", "trades", "whales", "floats", "months_1", "months_2", "far"}

// read returns the values of each column of a table, by name.
func read(t table) (map[string][]parquet.Value, error) {
	columns := map[string][]parquet.Value{}
	for _, name := range t.Files {
		if err := readFile(name, columns); err != nil {
			return nil, err
		}
	}
	return columns, nil
}

func readFile(name string, columns map[string][]parquet.Value) error {
	source, err := os.Open(name)
	if err != nil {
		return err
	}
	defer source.Close()
	stat, err := source.Stat()
	if err != nil {
		return err
	}
	file, err := parquet.OpenFile(source, stat.Size())
	if err != nil {
		return err
	}
	names := file.Schema().Columns()
	for _, group := range file.RowGroups() {
		rows := group.Rows()
		defer rows.Close()
		buffer := make([]parquet.Row, 64)
		for {
			count, err := rows.ReadRows(buffer)
			for _, row := range buffer[:count] {
				for _, value := range row {
					at := names[value.Column()][0]
					columns[at] = append(columns[at], value.Clone())
				}
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// units returns a decimal as a whole number of units of 10^-scale.
func units(value parquet.Value) *big.Int {
	switch value.Kind() {
	case parquet.Int32:
		return big.NewInt(int64(value.Int32()))
	case parquet.Int64:
		return big.NewInt(value.Int64())
	}
	raw := value.ByteArray()
	number := new(big.Int).SetBytes(raw)
	if len(raw) > 0 && raw[0]&0x80 != 0 {
		number.Sub(number, new(big.Int).Lsh(big.NewInt(1), uint(8*len(raw))))
	}
	return number
}

func decimal(number *big.Int, scale int) string {
	digits := new(big.Int).Abs(number).String()
	if len(digits) <= scale {
		digits = strings.Repeat("0", scale+1-len(digits)) + digits
	}
	sign := ""
	if number.Sign() < 0 {
		sign = "-"
	}
	if scale == 0 {
		return sign + digits
	}
	return sign + digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
}

func short(number string) string {
	if strings.Contains(number, ".") {
		return strings.TrimSuffix(strings.TrimRight(number, "0"), ".")
	}
	return number
}

func scaleOf(kind string) int {
	_, digits, _ := strings.Cut(strings.TrimSuffix(kind, ")"), ",")
	scale, _ := strconv.Atoi(digits)
	return scale
}

func canonical(value parquet.Value, kind string) *string {
	if value.IsNull() {
		return nil
	}
	var text string
	switch {
	case kind == "boolean":
		text = strconv.FormatBool(value.Boolean())
	case strings.HasPrefix(kind, "numeric"):
		text = decimal(units(value), scaleOf(kind))
	case kind == "real":
		text = fmt.Sprintf("%08x", value.Uint32())
	case kind == "double precision":
		text = fmt.Sprintf("%016x", value.Uint64())
	case kind == "smallint" || kind == "integer" || kind == "date":
		text = strconv.Itoa(int(value.Int32()))
	case kind == "bigint" || strings.HasPrefix(kind, "timestamp"):
		text = strconv.FormatInt(value.Int64(), 10)
	case kind == "bytea" || kind == "uuid":
		text = hex.EncodeToString(value.ByteArray())
	default:
		text = string(value.ByteArray())
	}
	return &text
}

func compare(t table) any {
	columns, err := read(t)
	if err != nil {
		return map[string]string{"error": err.Error()}
	}
	wrong := map[string]string{}
	for name, column := range t.Columns {
		found := columns[name]
		if len(found) != len(column.Values) {
			wrong[name] = fmt.Sprintf("%d rows instead of %d", len(found), len(column.Values))
			continue
		}
		for i, truth := range column.Values {
			got := canonical(found[i], column.Type)
			if (got == nil) != (truth == nil) || (got != nil && *got != *truth) {
				wrong[name] = fmt.Sprintf("row %d differs", i+1)
				break
			}
		}
	}
	return map[string]any{"columns": len(t.Columns), "wrong": wrong}
}

type questions struct{ tables map[string]table }

func (q questions) columns(name string) map[string][]parquet.Value {
	columns, err := read(q.tables[name])
	if err != nil {
		panic(err)
	}
	return columns
}

func total(values []parquet.Value, of func(int) *big.Int) *big.Int {
	sum := new(big.Int)
	for i := range values {
		sum.Add(sum, of(i))
	}
	return sum
}

func count(values []parquet.Value, yes func(parquet.Value) bool) string {
	number := 0
	for _, value := range values {
		if !value.IsNull() && yes(value) {
			number++
		}
	}
	return strconv.Itoa(number)
}

func (q questions) answer(name string) string {
	trades := func() map[string][]parquet.Value { return q.columns("trades") }
	switch name {
	case "sum":
		totals := q.columns("whales")["total"]
		return short(decimal(total(totals, func(i int) *big.Int { return units(totals[i]) }), 18))
	case "product":
		read := trades()
		product := func(i int) *big.Int { return new(big.Int).Mul(units(read["price"][i]), units(read["amount"][i])) }
		return short(decimal(total(read["price"], product), 36))
	case "literal":
		wanted := big.NewInt(100000000000000003)
		return count(trades()["fee"], func(v parquet.Value) bool { return units(v).Cmp(wanted) == 0 })
	case "nullable":
		filled := trades()["filled_by"]
		return total(filled, func(i int) *big.Int { return big.NewInt(filled[i].Int64()) }).String()
	case "padded":
		padded := q.columns("every_type")["padded"]
		return count(padded, func(v parquet.Value) bool { return strings.TrimRight(string(v.ByteArray()), " ") == "p1" })
	case "nan":
		return count(q.columns("floats")["reading"], func(v parquet.Value) bool { return v.Double() != v.Double() })
	case "wallet":
		digits := fmt.Sprintf("%x", md5.Sum([]byte("17")))
		wallet := "0x" + (digits + digits)[:40]
		return count(trades()["wallet"], func(v parquet.Value) bool { return string(v.ByteArray()) == wallet })
	case "months":
		first, second := q.columns("months_1"), q.columns("months_2")
		amounts := append(first["amount"], second["amount"]...)
		extra := second["extra"]
		return fmt.Sprintf("%d %s %s %s", len(amounts),
			short(decimal(total(amounts, func(i int) *big.Int { return units(amounts[i]) }), 18)),
			count(first["gone"], func(parquet.Value) bool { return true }),
			total(extra, func(i int) *big.Int { return big.NewInt(extra[i].Int64()) }))
	}
	return "not asked"
}

func version() string {
	build, _ := debug.ReadBuildInfo()
	for _, module := range build.Deps {
		if strings.HasSuffix(module.Path, "parquet-go/parquet-go") {
			return strings.TrimPrefix(module.Version, "v")
		}
	}
	return "?"
}

func main() {
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		panic(err)
	}
	var known index
	if err := json.Unmarshal(text, &known); err != nil {
		panic(err)
	}
	tables := map[string]any{}
	for _, name := range compared {
		tables[name] = compare(known.Tables[name])
	}
	answers := map[string]any{}
	for name := range known.Answers {
		// Values come as they are stored: there is no shorter way that is less exact.
		given := questions{known.Tables}.answer(name)
		answers[name] = map[string]string{"naive": given, "right": given}
	}
	out := map[string]any{"reader": "parquet-go", "version": version(), "tables": tables, "answers": answers}
	json.NewEncoder(os.Stdout).Encode(out)
}
