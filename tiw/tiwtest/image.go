package tiwtest

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/png"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
)

func (s *Server) serveImage(w http.ResponseWriter, r *http.Request) {
	name, isPNG := strings.CutSuffix(r.PathValue("file"), ".png")
	page, err := strconv.Atoi(name)
	s.mu.Lock()
	now := s.now()
	var t task
	if found := s.tasks.find(r.PathValue("task"), now); found != nil {
		t = *found
	}
	ready := isPNG && err == nil && t.created > 0 && strconv.FormatUint(t.room.id, 10) == r.PathValue("room") &&
		t.state(now) == OK && now < t.ends+int64(s.opt.ImageRetention) && page >= 1 && page <= int(t.pages)
	var fault ImageFault
	if ready {
		s.imageRequests++
		fault = s.faults.pickImage(s.imageRequests, s.imageRand.Float64())
		switch fault {
		case "":
			s.imagesServed++
		default:
			s.faultCounts["images."+string(fault)]++
		}
	}
	s.mu.Unlock()
	if !ready {
		http.NotFound(w, r)
		return
	}
	select {
	case s.drawSlots <- struct{}{}:
	case <-r.Context().Done():
		return
	}
	img := func() []byte {
		defer func() { <-s.drawSlots }()
		var b bytes.Buffer
		drawBoard(&b, t.room, page, int(t.pages), int(t.width), int(t.height))
		return padded(b.Bytes(), s.opt.ImageBytes)
	}()
	s.sendImage(w, r, fault, img)
}

// padded extends a PNG to size bytes by an ancillary chunk that decoders ignore. A
// PNG of size bytes or more is returned unchanged.
func padded(img []byte, size int) []byte {
	const end, frame = 12, 12 // IEND; length, type and checksum of a chunk
	pad := size - len(img) - frame
	if pad < 0 {
		return img
	}
	out := make([]byte, 0, size)
	out = append(out, img[:len(img)-end]...)
	out = binary.BigEndian.AppendUint32(out, uint32(pad))
	begin := len(out)
	out = append(out, "paDd"...)
	out = out[:len(out)+pad]
	out = binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out[begin:]))
	return append(out, img[len(img)-end:]...)
}

// drawBoard writes a PNG of a whiteboard that shows the numbers of its room and
// page. The drawing depends on the room and the page alone.
func drawBoard(w io.Writer, r room, page, pages, width, height int) error {
	const (
		white = iota
		faint
		grey
		firstInk
	)
	board := image.NewPaletted(image.Rect(0, 0, width, height), color.Palette{
		white:        color.White,
		faint:        color.RGBA{232, 238, 244, 255},
		grey:         color.RGBA{120, 128, 136, 255},
		firstInk:     color.RGBA{28, 32, 40, 255},
		firstInk + 1: color.RGBA{31, 91, 181, 255},
		firstInk + 2: color.RGBA{196, 48, 43, 255},
		firstInk + 3: color.RGBA{34, 132, 76, 255},
	})
	fill := func(r image.Rectangle, ink uint8) {
		r = r.Intersect(board.Rect)
		for y := r.Min.Y; y < r.Max.Y; y++ {
			for x := r.Min.X; x < r.Max.X; x++ {
				board.Pix[y*board.Stride+x] = ink
			}
		}
	}
	for x := 0; x < width; x += 40 {
		fill(image.Rect(x, 0, x+1, height), faint)
	}
	for y := 0; y < height; y += 40 {
		fill(image.Rect(0, y, width, y+1), faint)
	}

	rng := rand.New(rand.NewPCG(r.app, r.id<<8|uint64(page)))
	for range 5 + rng.IntN(5) {
		ink := uint8(firstInk + rng.IntN(4))
		pen := 2 + rng.IntN(3) // pixels
		stroke(rng, width, height, func(x, y int) { fill(image.Rect(x, y, x+pen, y+pen), ink) })
	}

	unit := max(1, min(width, height)/120)
	label := "#" + strconv.FormatUint(r.id, 10) + " " + strconv.Itoa(page) + "/" + strconv.Itoa(pages)
	for i, c := range label {
		for row, bits := range glyph(c) {
			for col := range 3 {
				if bits&(4>>col) != 0 {
					x, y := unit*(4+4*i+col), unit*(4+row)
					fill(image.Rect(x, y, x+unit, y+unit), grey)
				}
			}
		}
	}
	e := png.Encoder{CompressionLevel: png.BestSpeed}
	return e.Encode(w, board)
}

// stroke calls dot for each point of a random cubic Bézier curve.
func stroke(rng *rand.Rand, width, height int, dot func(x, y int)) {
	var px, py [4]float64
	for i := range 4 {
		px[i], py[i] = rng.Float64()*float64(width), rng.Float64()*float64(height)
	}
	steps := width + height
	for i := range steps {
		t := float64(i) / float64(steps)
		a, b, c, d := (1-t)*(1-t)*(1-t), 3*t*(1-t)*(1-t), 3*t*t*(1-t), t*t*t
		dot(int(a*px[0]+b*px[1]+c*px[2]+d*px[3]), int(a*py[0]+b*py[1]+c*py[2]+d*py[3]))
	}
}

// glyph returns a letter of 3 by 5 dots, one element per row.
func glyph(c rune) [5]uint8 {
	switch c {
	case '0':
		return [5]uint8{7, 5, 5, 5, 7}
	case '1':
		return [5]uint8{2, 6, 2, 2, 7}
	case '2':
		return [5]uint8{7, 1, 7, 4, 7}
	case '3':
		return [5]uint8{7, 1, 7, 1, 7}
	case '4':
		return [5]uint8{5, 5, 7, 1, 1}
	case '5':
		return [5]uint8{7, 4, 7, 1, 7}
	case '6':
		return [5]uint8{7, 4, 7, 5, 7}
	case '7':
		return [5]uint8{7, 1, 2, 2, 2}
	case '8':
		return [5]uint8{7, 5, 7, 5, 7}
	case '9':
		return [5]uint8{7, 5, 7, 1, 7}
	case '/':
		return [5]uint8{1, 1, 2, 4, 4}
	case '#':
		return [5]uint8{5, 7, 5, 7, 5}
	}
	return [5]uint8{}
}
