# Makes the reference values of the checks after a Cox fit: residuals, tests of proportional hazards,
# influence, concordance, functional form.
#   Rscript tests/reference/make_checks.R      (Debian packages r-base-core, r-cran-survival)
# Reads checks_models.csv and data/*.csv, writes checks_residuals.csv, checks_tests.csv,
# checks_influence.csv and checks_concordance.csv.
library(survival)
folder <- dirname(sub("--file=", "", grep("--file=", commandArgs(FALSE), value = TRUE)))
models <- read.csv(file.path(folder, "checks_models.csv"), colClasses = "character")
control <- coxph.control(eps = 1e-14, toler.chol = 1e-13, iter.max = 100)
out <- list()
add <- function(model, quantity, term, other, value)
  out[[length(out) + 1]] <<- data.frame(model, quantity, term, other, value = sprintf("%.17g", value))
save_values <- function(name) {
  write.csv(do.call(rbind, out), file.path(folder, paste0("checks_", name, ".csv")), row.names = FALSE, quote = FALSE)
  out <<- list()
}
# About 12 of the values and four sums over all of them, so that no row goes unchecked.
add_rows <- function(model, quantity, term, values, labels = seq_along(values)) {
  n <- length(values)
  some <- seq(1, n, by = ceiling(n / 12))
  add(model, quantity, term, labels[some], values[some])
  sums <- c(sum = sum(values), absolute = sum(abs(values)), square = sum(values^2),
            position = sum(values * seq_len(n)) / n)
  add(model, quantity, term, names(sums), sums)
}
add_matrix <- function(model, quantity, terms, values, labels = seq_len(NROW(values))) {
  values <- as.matrix(values)
  for (j in seq_along(terms)) add_rows(model, quantity, terms[j], values[, j], labels)
}

fit_model <- function(spec, d, robust = spec$cluster != "") {
  d$.offset <- if (spec$offset == "") 0 else d[[spec$offset]]
  text <- if (spec$offset == "") spec$formula else paste(spec$formula, "+ offset(.offset)")
  arguments <- list(as.formula(text), data = d, ties = spec$ties, control = control, x = TRUE, model = TRUE)
  if (spec$weights != "") arguments$weights <- d[[spec$weights]]
  if (robust) arguments$cluster <- d[[spec$cluster]] else arguments$robust <- FALSE
  do.call(coxph, arguments)
}
# As numbers, not integers: cox.zph(transform = "identity") stops at integer times.
read_set <- function(name) {
  d <- read.csv(file.path(folder, "data", paste0(name, ".csv")))
  d[] <- lapply(d, as.numeric)
  d
}
data_of <- function(spec) read_set(spec$data)
specs <- lapply(seq_len(nrow(models)), function(i) models[i, ])
fits <- lapply(specs, function(spec) fit_model(spec, data_of(spec)))
weights_of <- function(fit) if (is.null(fit$weights)) rep(1, fit$n) else fit$weights
response <- function(fit) {
  y <- fit$y
  list(stop = y[, ncol(y) - 1], event = y[, ncol(y)] == 1, y = y)
}
# Schoenfeld residuals come sorted by stratum and time; back to the order of the events' rows.
events_of <- function(fit) {
  r <- response(fit)
  strata <- if (is.null(fit$strata)) rep(1, fit$n) else as.numeric(fit$strata)
  ord <- order(strata, r$stop, -r$event)
  ord[r$event[ord]]
}

for (i in seq_along(specs)) {
  spec <- specs[[i]]; fit <- fits[[i]]; d <- data_of(spec); model <- spec$model
  terms <- names(coef(fit))
  w <- weights_of(fit)
  martingale <- residuals(fit, "martingale")
  add_rows(model, "martingale", "", martingale)
  add_rows(model, "deviance", "", residuals(fit, "deviance"))
  add_matrix(model, "score", terms, residuals(fit, "score"))
  add_matrix(model, "dfbeta", terms, residuals(fit, "dfbeta"))
  add_matrix(model, "dfbeta_unweighted", terms, residuals(fit, "dfbeta", weighted = FALSE))
  add_matrix(model, "dfbetas", terms, residuals(fit, "dfbetas"))
  if (spec$cluster != "") {
    g <- d[[spec$cluster]]
    sorted <- sort(unique(g))
    add_rows(model, "martingale_collapsed", "", residuals(fit, "martingale", collapse = g), sorted)
    add_rows(model, "martingale_collapsed_weighted", "",
             residuals(fit, "martingale", collapse = g, weighted = TRUE), sorted)
    add_matrix(model, "dfbeta_collapsed", terms, residuals(fit, "dfbeta", collapse = g), sorted)
    add_matrix(model, "dfbetas_collapsed", terms, residuals(fit, "dfbetas", collapse = g), sorted)
    add_matrix(model, "score_collapsed", terms, residuals(fit, "score", collapse = g), sorted)
    # Therneau and Grambsch (2000), section 4.3; residuals(fit, "deviance", collapse = g) is this
    # only for groups with one event at most.
    N <- drop(rowsum(as.numeric(response(fit)$event), g)); M <- drop(rowsum(martingale, g))
    own <- sign(M) * sqrt(-2 * (M + ifelse(N == 0, 0, N * log((N - M) / N))))
    theirs <- suppressWarnings(residuals(fit, "deviance", collapse = g))
    stopifnot(all.equal(unname(own[N < 2]), unname(theirs[N < 2]), tolerance = 1e-10))
    add_rows(model, "deviance_collapsed", "", own, sorted)
  }
  rows <- events_of(fit); back <- order(rows)
  for (type in c("schoenfeld", "scaledsch"))
    add_matrix(model, type, terms, as.matrix(residuals(fit, type))[back, , drop = FALSE], rows[back])
  # Not residuals(weighted = TRUE), which takes the weights of other rows unless the data are sorted.
  add_matrix(model, "schoenfeld_weighted", terms, (as.matrix(residuals(fit, "schoenfeld")) * w[rows])[back, , drop = FALSE],
             rows[back])
}
save_values("residuals")

# Grambsch and Therneau (1994): r* = d V r, chi2 = (sum g r*)^2 / (d V sum g^2), g centred; global
# (sum g r)' V (sum g r) d / sum g^2. With case weights every sum over events is weighted.
grambsch_therneau <- function(fit, g, V) {
  rows <- events_of(fit)
  r <- as.matrix(residuals(fit, "schoenfeld"))
  w <- weights_of(fit)[rows]
  total <- sum(w)
  g <- g - sum(w * g) / total
  star <- total * r %*% V
  each <- colSums(w * g * star)^2 / (total * diag(V) * sum(w * g^2))
  u <- colSums(w * g * r)
  rho <- sapply(seq_len(ncol(star)), function(j) cov.wt(cbind(g, star[, j]), wt = w, cor = TRUE)$cor[1, 2])
  list(each = each, global = drop(u %*% V %*% u) * total / sum(w * g^2), rho = rho)
}
for (i in seq_along(specs)) {
  spec <- specs[[i]]; fit <- fits[[i]]; model <- spec$model
  terms <- names(coef(fit))
  V <- if (is.null(fit$naive.var)) fit$var else fit$naive.var
  r <- response(fit)
  times <- r$stop[events_of(fit)]
  curve <- survfit(r$y ~ 1)
  before <- function(t) sapply(t, function(s) { k <- sum(curve$time < s); if (k == 0) 1 else curve$surv[k] })
  transforms <- list(identity = times, rank = rank(times), log = log(times), km = 1 - before(times), sqrt = sqrt(times))
  for (name in names(transforms)) {
    zph <- cox.zph(fit, transform = if (name == "sqrt") sqrt else name, terms = FALSE)$table
    add(model, paste0("score_", name), c(terms, "GLOBAL"), "statistic", zph[, "chisq"])
    add(model, paste0("score_", name), c(terms, "GLOBAL"), "p_value", zph[, "p"])
    gt <- grambsch_therneau(fit, transforms[[name]], V)
    add(model, paste0("grambsch_therneau_", name), c(terms, "GLOBAL"), "statistic", c(gt$each, gt$global))
    add(model, paste0("grambsch_therneau_", name), terms, "rho", gt$rho)
    if (spec$cluster != "") {
      gt <- grambsch_therneau(fit, transforms[[name]], fit$var)
      add(model, paste0("robust_", name), c(terms, "GLOBAL"), "statistic", c(gt$each, gt$global))
    }
  }
}
# Joint test of the columns of a factor: cox.zph with terms.
v <- read_set("veteran")
fit <- coxph(Surv(time, status) ~ karno + factor(cell), data = v, ties = "efron", control = control)
zph <- cox.zph(fit, transform = "km")$table
add("veteran_factor", "score_km", c("karno", "cell", "GLOBAL"), "statistic", zph[, "chisq"])
add("veteran_factor", "score_km", c("karno", "cell", "GLOBAL"), "df", zph[, "df"])
save_values("tests")

for (i in seq_along(specs)) {
  spec <- specs[[i]]; fit <- fits[[i]]; model <- spec$model
  cc <- concordance(fit)
  counts <- if (is.matrix(cc$count)) colSums(cc$count) else cc$count
  add(model, "concordance", "", c("concordance", "std_error", names(counts)), c(cc$concordance, sqrt(cc$var), counts))
  plain <- fit_model(spec, data_of(spec), robust = FALSE)
  cc <- concordance(plain, influence = 1)
  add(model, "concordance", "", "std_error_rows", sqrt(cc$var))
  add_rows(model, "influence", "", cc$dfbeta)
}
# Functional form: martingale residuals of models without the covariate, and a lowess line.
smooth_of <- function(model, fit, x, f, iter, delta) {
  line <- lowess(x, residuals(fit, "martingale"), f = f, iter = iter, delta = delta)
  add_rows(model, "lowess", "", line$y)
}
l <- read_set("lung")
null <- coxph(Surv(time, event) ~ 1, data = l, ties = "efron")
smooth_of("null_default", null, l$age, 2 / 3, 0, 0.01 * diff(range(l$age)))
smooth_of("null_robust", null, l$age, 0.4, 3, 0)
reduced <- coxph(Surv(time, event) ~ sex + ph_ecog, data = l, ties = "efron", control = control)
smooth_of("reduced", reduced, l$age, 0.5, 0, 0.01 * diff(range(l$age)))
p <- read_set("pbcseq")
null <- coxph(Surv(tstart, tstop, death) ~ 1, data = p, ties = "breslow")
smooth_of("null_counting", null, p$logbili, 2 / 3, 0, 0.01 * diff(range(p$logbili)))
smooth_of("null_counting_robust", null, p$protime, 0.1, 2, 0.2)
save_values("concordance")

# A refit that warns (infinite coefficient, no convergence) or has no coefficient has no estimate.
add_refit <- function(spec, quantity, d, left_out) {
  refit <- tryCatch(fit_model(spec, d, robust = FALSE), warning = function(w) NULL)
  if (is.null(refit) || anyNA(coef(refit))) add(spec$model, quantity, "", left_out, NA)
  else add(spec$model, quantity, names(coef(refit)), left_out, coef(refit))
}
for (i in seq_along(specs)) {
  spec <- specs[[i]]
  if (spec$cluster == "") next
  d <- data_of(spec)
  g <- d[[spec$cluster]]; labels <- sort(unique(g))
  if (length(labels) > 20) next
  for (one in labels) add_refit(spec, "without", d[g != one, ], one)
  pairs <- combn(labels, 2)
  for (j in seq(1, ncol(pairs), by = ceiling(ncol(pairs) / 6)))
    add_refit(spec, "without_two", d[!(g %in% pairs[, j]), ], paste(pairs[, j], collapse = " "))
}
save_values("influence")
