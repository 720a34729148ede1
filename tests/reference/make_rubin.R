# Rubin's rules by mice's pool.scalar: Rscript make_rubin.R (in this folder). Debian: r-cran-mice.
suppressMessages(library(mice))
rows <- list()
add <- function(model, quantity, value) {
  rows[[length(rows) + 1]] <<- data.frame(model = model, quantity = quantity, term = "b", other = "", value = sprintf("%.17g", value))
}
Q <- c(0.31, 0.42, 0.18, 0.55, 0.37, 0.29, 0.44)
U <- c(0.040, 0.052, 0.047, 0.039, 0.061, 0.044, 0.050)
cases <- list(
  few = list(q = Q, u = U, df = 43), many = list(q = Q, u = U, df = Inf), wide = list(q = 5 * Q, u = U, df = 12),
  two = list(q = Q[1:2], u = U[1:2], df = 30)
)
for (name in names(cases)) {
  one <- cases[[name]]
  found <- pool.scalar(one$q, one$u, n = one$df + 1, k = 1)
  for (k in seq_along(one$q)) {
    add(name, paste0("q", k), one$q[k])
    add(name, paste0("u", k), one$u[k])
  }
  add(name, "df_complete", one$df)
  for (quantity in c("qbar", "ubar", "b", "t", "df", "r", "fmi")) add(name, quantity, found[[quantity]])
}
write.csv(do.call(rbind, rows), "rubin_values.csv", row.names = FALSE, quote = FALSE)
