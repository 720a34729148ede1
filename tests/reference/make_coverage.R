# Makes the reference values of every quantity of a Cox model on every data set, with R's survival package.
#   Rscript tests/reference/make_coverage.R      (Debian packages r-base-core, r-cran-survival, r-cran-cardata)
# Run make_reference.R and make_cox_more.R first: they write most of data/. Reads coverage_models.csv, writes
# data/rossi_week.csv.gz, data/diabetic.csv,
# coverage_values.csv and coverage_versions.txt.
library(survival)
folder <- dirname(sub("--file=", "", grep("--file=", commandArgs(FALSE), value = TRUE)))
# Recidivism by week: employed in the week, and in the week before (rows from the second week on have both).
r <- carData::Rossi
employed <- as.matrix(r[, paste0("emp", 1:52)]) == "yes"
weeks <- do.call(rbind, lapply(seq_len(nrow(r)), function(i) {
  w <- seq_len(r$week[i])
  data.frame(id = i, start = w - 1, stop = w, arrest = as.integer(w == r$week[i] & r$arrest[i] == 1),
             fin = as.integer(r$fin[i] == "yes"), age = r$age[i], race = as.integer(r$race[i] == "black"),
             wexp = as.integer(r$wexp[i] == "yes"), mar = as.integer(r$mar[i] == "married"),
             paro = as.integer(r$paro[i] == "yes"), prio = r$prio[i], employed = as.integer(employed[i, w]),
             employed_before = as.integer(c(NA, employed[i, w[-length(w)]])))
}))
weeks <- weeks[weeks$stop > 1, ]
out <- gzfile(file.path(folder, "data", "rossi_week.csv.gz"), "w")
write.csv(weeks, out, row.names = FALSE, quote = FALSE)
close(out)
d <- diabetic
d <- data.frame(id = d$id, time = d$time, status = d$status, laser = as.integer(d$laser == "argon"), age = d$age,
                eye = as.integer(d$eye == "left"), trt = d$trt, risk = d$risk, juvenile = as.integer(d$age < 20))
d$treat <- d$trt * d$age / 20
write.csv(format(d, digits = 17, trim = TRUE), file.path(folder, "data", "diabetic.csv"), row.names = FALSE, quote = FALSE)

read_set <- function(name) {
  path <- file.path(folder, "data", paste0(name, ".csv"))
  d <- read.csv(if (file.exists(path)) path else paste0(path, ".gz"))
  # As numbers, not integers: cox.zph(transform = "identity") stops at integer times.
  d[] <- lapply(d, as.numeric)
  d
}
control <- coxph.control(eps = 1e-14, toler.chol = 1e-13, iter.max = 100)
out <- list()
add <- function(model, quantity, term, other, value)
  out[[length(out) + 1]] <<- data.frame(model, quantity, term, other, value = sprintf("%.17g", value))
# Some of the values and sums over all of them, so that no row goes unchecked.
add_rows <- function(model, quantity, term, values) {
  n <- length(values)
  some <- seq(1, n, by = ceiling(n / 6))
  add(model, quantity, term, some, values[some])
  sums <- c(sum = sum(values), absolute = sum(abs(values)), square = sum(values^2), position = sum(values * seq_len(n)) / n)
  add(model, quantity, term, names(sums), sums)
}
add_matrix <- function(model, quantity, terms, values) {
  values <- as.matrix(values)
  for (j in seq_along(terms)) add_rows(model, quantity, terms[j], values[, j])
}
thin <- function(n, most = 6) unique(round(seq(1, n, length.out = min(n, most))))

models <- read.csv(file.path(folder, "coverage_models.csv"), colClasses = "character")
for (i in seq_len(nrow(models))) {
  spec <- models[i, ]
  model <- spec$model
  d <- read_set(spec$data)
  arguments <- list(as.formula(spec$formula), data = d, ties = spec$ties, control = control, x = TRUE, model = TRUE)
  if (spec$weights != "") arguments$weights <- d[[spec$weights]]
  if (spec$cluster != "") arguments$cluster <- d[[spec$cluster]] else arguments$robust <- FALSE
  fit <- do.call(coxph, arguments)
  terms <- names(coef(fit))
  naive <- if (is.null(fit$naive.var)) fit$var else fit$naive.var
  for (a in seq_along(terms)) {
    add(model, "coef", terms[a], "", coef(fit)[a])
    for (b in seq_along(terms)) {
      add(model, "vcov", terms[a], terms[b], fit$var[a, b])
      add(model, "vcov_model", terms[a], terms[b], naive[a, b])
    }
  }
  add(model, "loglik_null", "", "", fit$loglik[1])
  add(model, "loglik", "", "", fit$loglik[2])

  # Residuals; Schoenfeld residuals back in the order of the events' rows.
  add_rows(model, "martingale", "", residuals(fit, "martingale"))
  add_rows(model, "deviance", "", residuals(fit, "deviance"))
  add_matrix(model, "score", terms, residuals(fit, "score"))
  add_matrix(model, "dfbeta", terms, residuals(fit, "dfbeta"))
  y <- fit$y
  stop <- y[, ncol(y) - 1]
  event <- y[, ncol(y)] == 1
  strata <- if (is.null(fit$strata)) rep(1, fit$n) else as.numeric(fit$strata)
  ord <- order(strata, stop, -event)
  rows <- ord[event[ord]]
  for (type in c("schoenfeld", "scaledsch"))
    add_matrix(model, type, terms, as.matrix(residuals(fit, type))[order(rows), , drop = FALSE])

  # Tests of proportional hazards: cox.zph, and the formula of Grambsch and Therneau (1994), weighted.
  if (length(unique(stop[event])) > 1) {
    curve <- survfit(y ~ 1)
    before <- function(t) sapply(t, function(s) { k <- sum(curve$time < s); if (k == 0) 1 else curve$surv[k] })
    times <- stop[rows]
    transforms <- list(identity = times, rank = rank(times), log = log(times), km = 1 - before(times))
    schoenfeld <- as.matrix(residuals(fit, "schoenfeld"))
    w <- (if (is.null(fit$weights)) rep(1, fit$n) else fit$weights)[rows]
    for (name in names(transforms)) {
      zph <- cox.zph(fit, transform = name, terms = FALSE)$table
      add(model, paste0("score_", name), c(terms, "GLOBAL"), "", zph[, "chisq"])
      g <- transforms[[name]] - sum(w * transforms[[name]]) / sum(w)
      u <- colSums(w * g * schoenfeld)
      each <- sum(w) * drop(u %*% naive)^2 / (diag(naive) * sum(w * g^2))
      add(model, paste0("grambsch_therneau_", name), c(terms, "GLOBAL"), "",
          c(each, drop(u %*% naive %*% u) * sum(w) / sum(w * g^2)))
    }
    # The numbers that plot.cox.zph draws.
    zph <- cox.zph(fit, transform = "km", terms = FALSE)
    library(splines)
    if (length(unique(zph$x)) > 8 && is.null(zph$strata)) {
      grid <- seq(min(zph$x), max(zph$x), length = 40)
      basis <- ns(c(grid, zph$x), df = 4, intercept = TRUE)
      at <- basis[1:40, ]
      decomposed <- qr(basis[-(1:40), ])
      back <- backsolve(decomposed$qr[1:4, 1:4], diag(4))
      spread <- ((at %*% (back %*% t(back))) * at) %*% rep(1, 4)
      for (j in seq_along(terms)) {
        add(model, "smooth", terms[j], thin(40), (at %*% qr.coef(decomposed, zph$y[, j]))[thin(40)])
        add(model, "smooth_error", terms[j], thin(40), sqrt(zph$var[j, j] * spread)[thin(40)])
      }
    }
  }

  # Baseline (covariates 0) and survival at the covariates of the first row.
  first <- d[1, , drop = FALSE]
  zero <- first
  zero[terms[terms %in% names(zero)]] <- 0
  for (what in c("baseline", "survival")) {
    curve <- survfit(fit, newdata = if (what == "baseline") zero else first)
    # The stratum in newdata chooses one curve.
    stratum <- if (length(grep("strata", spec$formula))) sub(".*strata\\((.*)\\).*", "\\1", spec$formula)
    label <- if (is.null(stratum)) "" else as.character(first[[stratum]])
    at <- which(curve$n.event > 0)
    at <- at[thin(length(at))]
    time <- sprintf("%.17g", curve$time[at])
    add(model, paste0(what, "_hazard"), label, time, curve$cumhaz[at])
    add(model, paste0(what, "_error"), label, time, curve$std.err[at])
  }
  # Survival along the rows of one subject (start-stop data): the one with the most rows.
  if (ncol(y) == 3 && "id" %in% names(d)) {
    who <- as.numeric(names(which.max(table(d$id))))
    path <- d[d$id == who, ]
    path$.id <- 1
    curve <- survfit(fit, newdata = path, id = .id)
    at <- which(curve$n.event > 0)
    at <- at[thin(length(at))]
    # R counts time from the beginning of the path.
    begin <- path[[all.vars(as.formula(spec$formula))[1]]][1]
    add(model, "path_hazard", who, sprintf("%.17g", curve$time[at] + begin), curve$cumhaz[at])
  }
}

# Penalized fits: hazard at the penalized estimate with the penalized covariance.
hea <- read_set("heart")
lun <- read_set("lung")
ridge <- list(
  ridge_heart = coxph(Surv(start, stop, event) ~ ridge(age, year, surgery, transplant, theta = 5, scale = FALSE), hea,
                      ties = "breslow", control = control),
  ridge_lung = coxph(Surv(time, event) ~ ridge(age, sex, ph_ecog, theta = 20, scale = TRUE), lun, ties = "efron",
                     control = control))
values <- list(ridge_heart = data.frame(age = 3, year = 2, surgery = 0, transplant = 1),
               ridge_lung = data.frame(age = 60, sex = 1, ph_ecog = 2))
add_curve <- function(model, curve) {
  at <- which(curve$n.event > 0)
  at <- at[thin(length(at))]
  time <- sprintf("%.17g", curve$time[at])
  add(model, "survival_hazard", "", time, curve$cumhaz[at])
  add(model, "survival_error", "", time, curve$std.err[at])
}
for (model in names(ridge)) {
  # survfit takes newdata of ridge() as a matrix of its own; the same model without the penalty, held at its estimate and
  # given its covariance, has the same curve.
  fit <- ridge[[model]]
  text <- if (model == "ridge_heart") Surv(start, stop, event) ~ age + year + surgery + transplant else
    Surv(time, event) ~ age + sex + ph_ecog
  held <- coxph(text, if (model == "ridge_heart") hea else lun, ties = fit$method, init = coef(fit),
                control = coxph.control(iter.max = 0))
  held$var <- fit$var
  add(model, "coef", names(coef(held)), "", coef(fit))
  add_curve(model, survfit(held, newdata = values[[model]]))
  # R's own curve of the penalized fit, at the means of the covariates.
  curve <- survfit(fit)
  at <- which(curve$n.event > 0)
  at <- at[thin(length(at))]
  time <- sprintf("%.17g", curve$time[at])
  add(model, "mean_hazard", "", time, curve$cumhaz[at])
  add(model, "mean_error", "", time, curve$std.err[at])
}
# Times that differ by rounding only.
near <- data.frame(time = c(0.1 + 0.2, 0.3, 0.3, 0.7, 0.1 * 7, 1.1, 1.2, 2), start = c(0, 0.1, 0, 0.3, 0.1 + 0.2, 0, 0.7, 0.1 * 7),
                   status = c(1, 1, 0, 1, 1, 0, 1, 1), x = c(1, 0, 2, 1.5, -1, 0.5, 0.2, 1))
for (fixed in c(TRUE, FALSE)) for (ties in c("breslow", "efron")) {
  ctl <- coxph.control(eps = 1e-14, toler.chol = 1e-15, iter.max = 100, timefix = fixed)
  right <- coxph(Surv(time, status) ~ x, near, ties = ties, control = ctl)
  counting <- coxph(Surv(start, time, status) ~ x, near, ties = ties, control = ctl)
  label <- paste(ties, if (fixed) "joined" else "apart", sep = "_")
  add(paste0("near_", label), c("coef", "loglik"), "right", "", c(coef(right), right$loglik[2]))
  add(paste0("near_", label), c("coef", "loglik"), "counting", "", c(coef(counting), counting$loglik[2]))
}
write.csv(do.call(rbind, out), file.path(folder, "coverage_values.csv"), row.names = FALSE, quote = FALSE)
writeLines(c(R.version.string, paste("survival", packageVersion("survival")), paste("carData", packageVersion("carData"))),
           file.path(folder, "coverage_versions.txt"))
