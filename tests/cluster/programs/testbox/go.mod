module orkhaven.local/programs/testbox

go 1.24
